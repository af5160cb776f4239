// The recorded runs of the Python stack of 2023 (LLaMA-Efficient-Tuning v0.1.8 on transformers 4.31): the same rows in
// every micro-batch, the same losses, rates, norms, evaluation losses and final weights.
#include "tests/train/golden2023.h"

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/json.h"
#include "tests/train/tiny_run.h"

namespace baichuan {
namespace {

class Golden2023 : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kGolden)) GTEST_SKIP() << "needs ../shared/data";
    write_golden_model(directory_.path() / "model");
    write_golden_adapter(directory_.path() / "init_adapter");
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

  TemporaryDirectory directory_;
};

TEST_F(Golden2023, LoraWithARemainderOfOneMicroBatch) {
  auto run = run_of("lora_rem", "zh13,en12", 5, 4);
  run.adapter_directory = directory_.path() / "init_adapter";
  expect_same_course(train(run), kGolden / "sft/lora_rem");
  expect_same_adapter(run.trainer.logging.output_dir, kGolden / "sft/lora_rem");
  expect_same_logs(run.trainer.logging.output_dir, kGolden / "sft/lora_rem");
}

TEST_F(Golden2023, LoraWithEpochsShorterThanTheAccumulation) {
  auto run = run_of("lora_gas16", "zh13,en12", 16, 2);
  run.adapter_directory = directory_.path() / "init_adapter";
  expect_same_course(train(run), kGolden / "sft/lora_gas16");
  expect_same_adapter(run.trainer.logging.output_dir, kGolden / "sft/lora_gas16");
  expect_same_logs(run.trainer.logging.output_dir, kGolden / "sft/lora_gas16");
}

TEST_F(Golden2023, FullFineTuning) {
  auto run = run_of("full_brief", "zh12,en12", 5, 4);
  run.full = true;
  const auto recorded = kGolden / "sft/full_brief";
  expect_same_course(train(run), recorded);
  expect_same_logs(run.trainer.logging.output_dir, recorded);
  expect_same_weights(run.trainer.logging.output_dir, recorded);
}

}  // namespace
}  // namespace baichuan
