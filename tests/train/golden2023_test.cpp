// The recorded runs of the Python stack of 2023 (LLaMA-Efficient-Tuning v0.1.8 on transformers 4.31): the same rows in
// every micro-batch, the same losses, rates, norms, evaluation losses and final weights.
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/files.h"
#include "io/checkpoint_reader.h"
#include "io/checkpoint_writer.h"
#include "tests/train/tiny_run.h"

namespace baichuan {
namespace {

constexpr double kLossTolerance = 2e-5;    // float32 sums in another order
constexpr double kWeightTolerance = 1e-5;  // six updates of it
constexpr double kNormTolerance = 1e-3;    // torch's own float32 norm of large tensors is off by up to 3e-4

const std::filesystem::path kGolden = BAICHUAN_SHARED_DATA "/golden2023";

// The weights that the recorded runs started from: torch.randn from seed 0 in this order.
void write_golden_model(const std::filesystem::path& directory) {
  const Json manifest = read_json_file(kGolden / "tiny13.manifest.json");
  const Json& config = manifest["config"];
  auto generator = at::detail::createCPUGenerator(0);
  const std::int64_t h = config["hidden_size"];
  const std::int64_t f = config["intermediate_size"];
  const std::int64_t v = config["vocab_size"];
  const auto matrix = [&](std::int64_t rows, std::int64_t columns) {
    return at::randn({rows, columns}, generator, at::kFloat) * 0.02;
  };
  const auto norm = [&] { return 1 + 0.1 * at::randn({h}, generator, at::kFloat); };
  std::vector<std::pair<std::string, at::Tensor>> weights{{"model.embed_tokens.weight", matrix(v, h)}};
  for (int i = 0; i < config["num_hidden_layers"].get<int>(); ++i) {
    const std::string p = "model.layers." + std::to_string(i) + ".";
    weights.emplace_back(p + "self_attn.W_pack.weight", matrix(3 * h, h));
    weights.emplace_back(p + "self_attn.o_proj.weight", matrix(h, h));
    weights.emplace_back(p + "mlp.gate_proj.weight", matrix(f, h));
    weights.emplace_back(p + "mlp.up_proj.weight", matrix(f, h));
    weights.emplace_back(p + "mlp.down_proj.weight", matrix(h, f));
    weights.emplace_back(p + "input_layernorm.weight", norm());
    weights.emplace_back(p + "post_attention_layernorm.weight", norm());
  }
  weights.emplace_back("model.norm.weight", norm());
  weights.emplace_back("lm_head.weight", matrix(v, h));
  std::vector<TensorSpec> specs;
  for (const auto& [name, value] : weights) {
    specs.push_back({name, at::kFloat, value.sizes().vec()});
    const auto first = value.flatten().slice(0, 0, 4).to(at::kDouble);
    for (int i = 0; i < 4; ++i)
      ASSERT_EQ(first[i].item<double>(), manifest["weights"][name]["first"][static_cast<std::size_t>(i)].get<double>())
          << name;
  }
  std::filesystem::create_directories(directory);
  CheckpointWriter writer(directory, specs, {});
  for (const auto& [name, value] : weights) writer.write(name, value);
  writer.finish();
  write_json_file(directory / "config.json", config);
  std::filesystem::copy_file(BAICHUAN_SHARED_DATA "/baichuan_tokenizer/tokenizer.model", directory / "tokenizer.model");
}

class Golden2023 : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kGolden)) GTEST_SKIP() << "needs ../shared/data";
    write_golden_model(directory_.path() / "model");
  }

  TinyRun run_of(const std::string& name,
                 const std::string& datasets,
                 std::int64_t accumulation,
                 std::int64_t eval_steps) {
    TinyRun run;
    run.model_directory = directory_.path() / "model";
    run.lora.lora_dropout = 0;
    run.data.dataset = datasets;
    run.data.dataset_dir = (kGolden / "data").string();
    run.data.template_name = "default";
    run.data.template_compat = "2023-08";
    run.data.max_source_length = 512;
    run.data.max_target_length = 512;
    run.data.val_size = 4;
    run.data.dataset_cache_dir = (directory_.path() / "cache").string();
    auto& t = run.trainer;
    t.compat_2023 = true;
    t.normalization = LossNormalization::kMicroBatch;
    t.max_grad_norm = 0.5;
    t.finetuning.plot_loss = true;
    t.optimization.optim = "adamw_hf";
    t.optimization.learning_rate = 1e-3;
    t.optimization.lr_scheduler_type = "cosine";
    t.optimization.per_device_train_batch_size = 2;
    t.optimization.per_device_eval_batch_size = 3;
    t.optimization.gradient_accumulation_steps = accumulation;
    t.optimization.num_train_epochs = 3;
    t.logging.output_dir = (directory_.path() / name).string();
    t.logging.evaluation_strategy = "steps";
    t.logging.logging_steps = 1;
    t.logging.eval_steps = static_cast<double>(eval_steps);
    t.logging.save_steps = static_cast<double>(eval_steps);
    t.logging.load_best_model_at_end = true;
    std::filesystem::create_directories(t.logging.output_dir);
    return run;
  }

  // The recorded adapter as a PEFT directory.
  std::filesystem::path initial_adapter() {
    const auto directory = directory_.path() / "init_adapter";
    std::filesystem::create_directories(directory);
    std::filesystem::copy_file(kGolden / "sft/lora_rem/init_adapter.safetensors",
                               directory / "adapter_model.safetensors");
    std::filesystem::copy_file(kGolden / "sft/lora_rem/adapter_config.json", directory / "adapter_config.json");
    return directory;
  }

  void expect_same_course(const TinyResult& result, const std::filesystem::path& recorded) {
    const Json trace = read_json_file(recorded / "trace.json");
    ASSERT_EQ(result.micro_losses.size(), trace["micro"].size());
    for (std::size_t i = 0; i < result.micro_losses.size(); ++i) {
      const Json& micro = trace["micro"][i];
      EXPECT_EQ(Json(result.micro_batches[i].rows), micro["train_rows"]) << "micro-batch " << i;
      EXPECT_NEAR(result.micro_losses[i], micro["loss"].get<double>(), kLossTolerance) << "micro-batch " << i;
    }
    ASSERT_EQ(result.rates.size(), trace["updates"].size());
    for (std::size_t i = 0; i < result.rates.size(); ++i) {
      const Json& update = trace["updates"][i];
      EXPECT_EQ(result.rates[i], update["lr_used"].get<double>());
      EXPECT_NEAR(result.norms[i] / update["grad_norm"].get<double>(), 1, kNormTolerance);
    }
    const Json state = read_json_file(recorded / "trainer_state.json");
    std::vector<double> eval_losses;
    for (const Json& row : state["log_history"])
      if (row.contains("eval_loss")) eval_losses.push_back(row["eval_loss"]);
    const Json final_results = read_json_file(recorded / "all_results.json");
    eval_losses.push_back(final_results["eval_loss"]);
    ASSERT_EQ(result.eval_losses.size(), eval_losses.size());
    for (std::size_t i = 0; i < eval_losses.size(); ++i)
      EXPECT_NEAR(result.eval_losses[i], eval_losses[i], kLossTolerance);
  }

  // The files that the run left: rates as logged then (the next step's), losses, epochs, the mean at the end.
  void expect_same_logs(const std::filesystem::path& output, const std::filesystem::path& recorded) {
    const Json ours = read_json_file(output / "trainer_state.json");
    const Json theirs = read_json_file(recorded / "trainer_state.json");
    EXPECT_EQ(ours["global_step"], theirs["global_step"]);
    EXPECT_EQ(ours["max_steps"], theirs["max_steps"]);
    EXPECT_NEAR(ours["total_flos"].get<double>(), theirs["total_flos"].get<double>(), 1);
    EXPECT_NEAR(ours["best_metric"].get<double>(), theirs["best_metric"].get<double>(), kLossTolerance);
    std::size_t at = 0;
    for (const Json& row : theirs["log_history"]) {
      ASSERT_LT(at, ours["log_history"].size());
      const Json& mine = ours["log_history"][at++];
      EXPECT_EQ(mine["step"], row["step"]);
      if (row.contains("learning_rate")) {
        EXPECT_EQ(mine["learning_rate"], row["learning_rate"]);
      }
      // Both were rounded in the recorded run.
      if (row.contains("loss")) {
        EXPECT_NEAR(mine["loss"].get<double>(), row["loss"].get<double>(), 1e-4);
      }
      if (row.contains("epoch")) {
        EXPECT_NEAR(mine["epoch"].get<double>(), row["epoch"].get<double>(), 0.0051);
      }
    }
    const Json results = read_json_file(output / "train_results.json");
    EXPECT_NEAR(results["train_loss"].get<double>(),
                read_json_file(recorded / "train_results.json")["train_loss"].get<double>(), kLossTolerance);
  }

  TemporaryDirectory directory_;
};

void expect_adapter(const std::filesystem::path& output, const std::filesystem::path& recorded) {
  const auto ours = CheckpointReader::open_adapter(output);
  const auto theirs = CheckpointReader::open(recorded / "final.adapter.safetensors");
  ASSERT_EQ(ours.tensors().size(), theirs.tensors().size());
  for (const auto& spec : theirs.tensors()) {
    const double difference = (ours.read(spec.name) - theirs.read(spec.name)).abs().max().item<double>();
    EXPECT_LE(difference, kWeightTolerance) << spec.name;
  }
}

TEST_F(Golden2023, LoraWithARemainderOfOneMicroBatch) {
  auto run = run_of("lora_rem", "zh13,en12", 5, 4);
  run.adapter_directory = initial_adapter();
  expect_same_course(train(run), kGolden / "sft/lora_rem");
  expect_adapter(run.trainer.logging.output_dir, kGolden / "sft/lora_rem");
  expect_same_logs(run.trainer.logging.output_dir, kGolden / "sft/lora_rem");
}

TEST_F(Golden2023, LoraWithEpochsShorterThanTheAccumulation) {
  auto run = run_of("lora_gas16", "zh13,en12", 16, 2);
  run.adapter_directory = initial_adapter();
  expect_same_course(train(run), kGolden / "sft/lora_gas16");
  expect_adapter(run.trainer.logging.output_dir, kGolden / "sft/lora_gas16");
  expect_same_logs(run.trainer.logging.output_dir, kGolden / "sft/lora_gas16");
}

TEST_F(Golden2023, FullFineTuning) {
  auto run = run_of("full_brief", "zh12,en12", 5, 4);
  run.full = true;
  const auto recorded = kGolden / "sft/full_brief";
  expect_same_course(train(run), recorded);
  expect_same_logs(run.trainer.logging.output_dir, recorded);
  const auto ours = CheckpointReader::open(run.trainer.logging.output_dir);
  const auto theirs = CheckpointReader::open(recorded / "final.weights_slice.safetensors");
  const auto rows = theirs.read("rows");  // of the two large matrices only these were kept
  for (const auto& spec : theirs.tensors()) {
    if (spec.name == "rows" || spec.name == "stats") continue;
    const auto bracket = spec.name.find('[');
    auto weight = ours.read(spec.name.substr(0, bracket));
    if (bracket != std::string::npos) weight = weight.index_select(0, rows);
    const double difference = (weight - theirs.read(spec.name)).abs().max().item<double>();
    EXPECT_LE(difference, kWeightTolerance) << spec.name;
  }
}

}  // namespace
}  // namespace baichuan
