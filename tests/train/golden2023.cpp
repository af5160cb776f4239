#include "tests/train/golden2023.h"

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/json.h"
#include "io/checkpoint_reader.h"
#include "io/checkpoint_writer.h"

namespace baichuan {

// torch.randn from seed 0 in this order.
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

void write_golden_adapter(const std::filesystem::path& directory) {
  const auto recorded = kGolden / "sft/lora_rem";
  std::filesystem::create_directories(directory);
  std::filesystem::copy_file(recorded / "init_adapter.safetensors", directory / "adapter_model.safetensors");
  std::filesystem::copy_file(recorded / "adapter_config.json", directory / "adapter_config.json");
}

void expect_same_logs(const std::filesystem::path& output, const std::filesystem::path& recorded) {
  const Json ours = read_json_file(output / "trainer_state.json");
  const Json theirs = read_json_file(recorded / "trainer_state.json");
  EXPECT_EQ(ours["global_step"], theirs["global_step"]);
  EXPECT_EQ(ours["max_steps"], theirs["max_steps"]);
  EXPECT_NEAR(ours["total_flos"].get<double>() / theirs["total_flos"].get<double>(), 1,
              1e-7);  // ranks added in float32
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
              read_json_file(recorded / "all_results.json")["train_loss"].get<double>(), kLossTolerance);
}

void expect_same_adapter(const std::filesystem::path& output, const std::filesystem::path& recorded) {
  const auto ours = CheckpointReader::open_adapter(output);
  const auto theirs = CheckpointReader::open(recorded / "final.adapter.safetensors");
  ASSERT_EQ(ours.tensors().size(), theirs.tensors().size());
  for (const auto& spec : theirs.tensors()) {
    const double difference = (ours.read(spec.name) - theirs.read(spec.name)).abs().max().item<double>();
    EXPECT_LE(difference, kWeightTolerance) << spec.name;
  }
}

void expect_same_weights(const std::filesystem::path& output, const std::filesystem::path& recorded) {
  const auto ours = CheckpointReader::open(output);
  const auto theirs = CheckpointReader::open(recorded / "final.weights_slice.safetensors");
  const auto rows = theirs.read("rows");  // of the two large matrices only these were kept
  for (const auto& spec : theirs.tensors()) {
    if (spec.name == "rows" || spec.name == "stats") continue;
    const auto bracket = spec.name.find('[');
    auto weight = ours.read(spec.name.substr(0, bracket));
    if (bracket != std::string::npos) weight = weight.index_select(0, rows);
    const at::Tensor difference = (weight - theirs.read(spec.name)).to(at::kDouble);
    EXPECT_LE(difference.square().mean().sqrt().item<double>(), kMeanTolerance) << spec.name;
    EXPECT_LE(difference.abs().max().item<double>(), kLoneTolerance) << spec.name;
  }
}

}  // namespace baichuan
