// --on_non_finite skip: a row that makes the loss not finite costs its step, not the run.
#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "data/tokenizer.h"
#include "distributed/process_group.h"
#include "io/checkpoint_reader.h"
#include "io/checkpoint_writer.h"
#include "tests/distributed/rank_threads.h"
#include "tests/train/tiny_run.h"
#include "train/run_state.h"

namespace baichuan {
namespace {

constexpr int kRows = 16;
constexpr std::int64_t kBadRow = 9;

// Embeddings of the tokens that only `text` has are not numbers any more.
void poison(const std::filesystem::path& model, const std::string& text) {
  const Tokenizer tokenizer(model);
  const auto common = tokenizer.encode("x");
  std::vector<std::pair<TensorSpec, at::Tensor>> tensors;
  {
    const auto reader = CheckpointReader::open(model);
    for (const auto& spec : reader.tensors()) tensors.emplace_back(spec, reader.read(spec.name));
  }
  std::vector<TensorSpec> specs;
  for (auto& [spec, value] : tensors) {
    specs.push_back(spec);
    if (spec.name != "model.embed_tokens.weight") continue;
    for (const auto id : tokenizer.encode("x" + text))
      if (std::find(common.begin(), common.end(), id) == common.end())
        value[id].fill_(std::numeric_limits<float>::quiet_NaN());
  }
  CheckpointWriter writer(model, specs, {});
  for (const auto& [spec, value] : tensors) writer.write(spec.name, value);
  writer.finish();
}

class NonFinite : public testing::Test {
 protected:
  void SetUp() override {
    const auto model = directory_.path() / "model";
    write_tiny_model(model);
    poison(model, "Ω");
    const auto file = directory_.path() / "rows.json";
    write_tiny_rows(file, kRows);
    Json rows = read_json_file(file);
    rows[kBadRow]["input"] = "xΩ";
    write_json_file(file, rows);
  }

  // Four steps of four rows, in the order of the file: the bad one is in the third.
  TinyRun run_into(const std::string& name, std::int64_t micro_batches) {
    TinyRun run = tiny_run(directory_.path(), name);
    auto& t = run.trainer;
    t.deterministic_reduce = true;
    run.sharded = true;
    t.optimization.on_non_finite = "skip";
    t.optimization.disable_shuffling = true;
    t.optimization.learning_rate = 1e-2;
    t.optimization.per_device_train_batch_size = 2;
    t.optimization.gradient_accumulation_steps = micro_batches;
    t.optimization.num_train_epochs = 1;
    t.logging.logging_steps = 1;
    t.logging.save_steps = 3;
    return run;
  }

  TemporaryDirectory directory_;
};

TEST_F(NonFinite, StepIsLeftOutAndCounted) {
  const TinyRun run = run_into("alone", 2);
  const auto result = train(run);
  EXPECT_EQ(result.skipped, (std::vector<bool>{false, false, true, false}));
  for (const auto& [name, weight] : result.weights) EXPECT_TRUE(at::isfinite(weight).all().item<bool>()) << name;
  const std::filesystem::path output = run.trainer.logging.output_dir;
  const RunState saved = load_run_state(output / "checkpoint-3");
  EXPECT_EQ(saved.non_finite_steps, 1);
  EXPECT_EQ(saved.updates, 2) << "the schedule stands still";
  EXPECT_TRUE(std::isfinite(saved.loss_in_all));
  const std::string log = read_file(output / "trainer_log.jsonl");
  EXPECT_EQ(log.find("\"current_steps\":3"), std::string::npos) << log;
  EXPECT_NE(log.find("\"non_finite_steps\":1"), std::string::npos) << log;
  EXPECT_EQ(log.find("null"), std::string::npos) << log;
}

TEST_F(NonFinite, StepOfOneRankIsLeftOutByAll) {
  TinyResult alone;
  run_ranks(1, [&](ProcessGroup&) { alone = train(run_into("alone", 2)); });  // with the threads of a rank
  run_ranks(2, [&](ProcessGroup& group) {
    TinyRun mine = run_into("two", 1);
    mine.group = &group;
    const auto result = train(mine);
    EXPECT_EQ(result.skipped, alone.skipped) << "rank " << group.rank();
    for (const auto& [name, weight] : alone.weights) EXPECT_TRUE(torch::equal(weight, result.weights.at(name))) << name;
  });
}

TEST_F(NonFinite, StepStopsTheRunUnlessToldOtherwise) {
  TinyRun run = run_into("error", 2);
  run.trainer.optimization.on_non_finite = "error";
  try {
    train(run);
    FAIL() << "nothing was thrown";
  } catch (const TrainingError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("step 3: expected a finite loss; found nan for samples 8, 9"), std::string::npos) << message;
  }
}

TEST_F(NonFinite, StepsTenInARowStopTheRun) {
  TinyRun run = run_into("diverged", 1);
  run.full = true;
  run.trainer.optimization.learning_rate = 1e30;  // the first update destroys the weights
  run.trainer.optimization.lr_scheduler_type = "constant";
  run.trainer.optimization.num_train_epochs = 3;
  try {
    train(run);
    FAIL() << "nothing was thrown";
  } catch (const TrainingError& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find("expected one of 10 steps in a row to be finite; the last: step 11: expected a finite loss"),
              0)
        << message;
  }
}

}  // namespace
}  // namespace baichuan
