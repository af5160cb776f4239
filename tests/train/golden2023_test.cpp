// The recorded runs of the Python stack of 2023 (LLaMA-Efficient-Tuning v0.1.8 on transformers 4.31): the same rows in
// every micro-batch, the same losses, rates, norms, evaluation losses and final weights.
#include "tests/train/golden2023.h"

#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/files.h"
#include "core/json.h"
#include "data/sft_dataset.h"
#include "tests/distributed/rank_threads.h"
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

std::vector<Json> recorded_events(const std::filesystem::path& file, const std::string& kind) {
  std::vector<Json> events;
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);)
    if (Json event = Json::parse(line); event["event"] == kind) events.push_back(std::move(event));
  return events;
}

// The ids of a micro-batch as the recording has them: padded on the right with 0.
Json padded_ids(const SftDataset& rows, const std::vector<std::int64_t>& indices) {
  std::vector<std::vector<std::int32_t>> ids;
  std::size_t longest = 0;
  for (const std::int64_t index : indices) {
    ids.push_back(rows.example(index).ids);
    longest = std::max(longest, ids.back().size());
  }
  for (auto& row : ids) row.resize(longest, 0);
  return ids;
}

TEST_F(Golden2023, LoraInTwoProcesses) {
  auto run = run_of("ddp", "zh13,en12", 4, 2);
  run.adapter_directory = directory_.path() / "init_adapter";
  run.stage = 0;
  TinyResult result;
  run_ranks(2, [&](ProcessGroup& group) {
    TinyRun mine = run;
    mine.group = &group;
    TinyResult of_rank = train(mine);
    if (group.rank() == 0) result = std::move(of_rank);
  });
  const auto recorded = kGolden / "sft/ddp_s42";
  const SftSplits rows = prepare_sft(run.data, Tokenizer(run.model_directory), run.trainer.seed);
  for (std::size_t rank = 0; rank < 2; ++rank) {
    const auto events = recorded_events(recorded / fmt::format("events.rank{}.jsonl", rank), "micro");
    ASSERT_EQ(result.micro_losses.size(), 2 * events.size());
    for (std::size_t k = 0; k < events.size(); ++k) {
      const std::size_t i = 2 * k + rank;
      EXPECT_EQ(padded_ids(rows.train, result.micro_batches[i].rows), events[k]["input_ids"]) << rank << " " << k;
      EXPECT_NEAR(result.micro_losses[i], events[k]["loss"].get<double>(), kLossTolerance) << rank << " " << k;
    }
  }
  const auto updates = recorded_events(recorded / "events.rank0.jsonl", "optstep");
  const auto clips = recorded_events(recorded / "events.rank0.jsonl", "clip");
  ASSERT_EQ(result.rates.size(), updates.size());
  for (std::size_t i = 0; i < updates.size(); ++i) {
    EXPECT_EQ(result.rates[i], updates[i]["lr_used"].get<double>());
    EXPECT_NEAR(result.norms[i] / clips[i]["norm_before"].get<double>(), 1, kNormTolerance);
  }
  expect_same_logs(run.trainer.logging.output_dir, recorded);
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
