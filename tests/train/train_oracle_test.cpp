// Twenty training steps against PyTorch, PEFT and transformers: tests/data/train/README.md.
#include <filesystem>

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/json.h"
#include "io/checkpoint_reader.h"
#include "lora/adapter.h"
#include "model/load_weights.h"
#include "train/learning_rate_schedule.h"
#include "train/train_step.h"

namespace baichuan {
namespace {

constexpr double kLossTolerance = 5e-5;
constexpr double kNormTolerance = 1e-4;    // relative
constexpr double kWeightTolerance = 1e-4;  // the drift of float32 itself, see the README there

const std::filesystem::path kOracles = BAICHUAN_SOURCE_DIR "/tests/data/train";

Batch batch_of(const Json& micro, std::int64_t& sample) {
  std::vector<std::vector<std::int32_t>> ids = micro["ids"];
  std::vector<std::vector<std::int32_t>> labels = micro["labels"];
  std::vector<BatchRow> rows;
  for (std::size_t r = 0; r < ids.size(); ++r) rows.push_back({ids[r], labels[r], sample++});
  return make_batch(rows, /*pad_id=*/0, at::kCPU);
}

class TrainOracle : public testing::TestWithParam<std::string> {};

TEST_P(TrainOracle, TwentyStepsEqualThoseOfPyTorch) {
  const auto directory = kOracles / GetParam();
  const Json expected = read_json_file(directory / "expected.json");
  const Json& options = expected["options"];
  const bool lora = options["finetuning_type"] == "lora";

  Json config = read_json_file(kOracles / "base" / "config.json");
  if (options.contains("config")) config.update(options["config"]);
  const auto config_file = std::filesystem::path(testing::TempDir()) / ("oracle_" + GetParam() + ".json");
  write_json_file(config_file, config);
  BaichuanForCausalLM model(load_baichuan_config(config_file), at::TensorOptions().dtype(at::kFloat));
  load_weights(model, CheckpointReader::open(kOracles / "base"));
  for (auto& parameter : model.parameters()) parameter.requires_grad_(!lora);
  std::optional<LoraAdapter> adapter;
  std::vector<std::pair<std::string, at::Tensor>> trained;
  if (lora) {
    adapter = LoraAdapter::load_all(model, std::vector{kOracles / "adapter"}, /*dropout=*/0);
    trained = adapter->parameters();
  } else {
    for (const auto& named : model.named_parameters()) trained.emplace_back(named.key(), named.value());
  }

  const Json batches = read_json_file(directory / "batches.json");
  const auto accumulation = batches["accumulation"].get<std::int64_t>();
  const auto steps = static_cast<std::int64_t>(expected["loss"].size());
  OptimizerSettings optimizer_settings;
  optimizer_settings.weight_decay = options.value("weight_decay", 0.0);
  Optimizer optimizer(trained, optimizer_settings);
  TrainStepSettings settings;
  settings.accumulation = accumulation;
  settings.max_grad_norm = options.value("max_grad_norm", 0.0);
  settings.normalization = options.value("loss_normalization", "token") == "token" ? LossNormalization::kToken
                                                                                   : LossNormalization::kMicroBatch;
  TrainStep step(model, adapter ? &*adapter : nullptr, optimizer, settings);
  const LearningRateSchedule schedule({parse_schedule(options["lr_scheduler_type"].get<std::string>()),
                                       options["learning_rate"].get<double>(), steps,
                                       options.value("warmup_steps", std::int64_t{0}), 0});
  std::int64_t sample = 0;
  for (std::int64_t t = 0; t < steps; ++t) {
    std::vector<Batch> micro;
    for (std::int64_t g = 0; g < accumulation; ++g)
      micro.push_back(batch_of(batches["micro_batches"][static_cast<std::size_t>(t * accumulation + g)], sample));
    TrainStepResult result;
    const auto at = static_cast<std::size_t>(t);
    EXPECT_NEAR(schedule.rate(t), expected["lr"][at].get<double>(), 1e-15) << "step " << t;
    ASSERT_TRUE(step.run(StepWork::of(micro), t + 1, schedule.rate(t), result));
    EXPECT_NEAR(result.loss, expected["loss"][at].get<double>(), kLossTolerance) << "step " << t;
    EXPECT_NEAR(result.grad_norm / expected["grad_norm"][at].get<double>(), 1, kNormTolerance) << "step " << t;
  }
  const auto final_weights = CheckpointReader::open(directory / "final.safetensors");
  for (const auto& spec : final_weights.tensors()) {
    const auto found =
        std::find_if(trained.begin(), trained.end(), [&](const auto& pair) { return pair.first == spec.name; });
    ASSERT_NE(found, trained.end()) << spec.name;
    const double difference = (found->second.detach() - final_weights.read(spec.name)).abs().max().item<double>();
    EXPECT_LE(difference, kWeightTolerance) << spec.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Runs,
                         TrainOracle,
                         testing::Values("full",
                                         "full_rope",
                                         "lora",
                                         "accumulation",
                                         "accumulation_microbatch",
                                         "clipping",
                                         "cosine",
                                         "lora_all_together"),
                         [](const auto& named) { return named.param; });

}  // namespace
}  // namespace baichuan
