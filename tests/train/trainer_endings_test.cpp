// How a run ends: the best weights, evaluation alone, what it refuses before the first step.
#include <limits>

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/files.h"
#include "io/checkpoint_reader.h"
#include "tests/train/tiny_run.h"
#include "train/checkpoint_store.h"
#include "train/optimizer.h"
#include "train/run_settings.h"
#include "train/train_step.h"

namespace baichuan {
namespace {

class TrainerEndings : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(directory_.path() / "model");
    write_tiny_rows(directory_.path() / "rows.json", 20);
  }

  TinyRun run_into(const std::string& name) {
    TinyRun run = tiny_run(directory_.path(), name);
    run.data.val_size = 4;
    auto& t = run.trainer;
    t.optimization.learning_rate = 1e-2;
    t.optimization.per_device_train_batch_size = 4;
    t.optimization.num_train_epochs = 2;
    t.logging.evaluation_strategy = "steps";
    t.logging.logging_steps = 1;
    t.logging.eval_steps = 2;
    t.logging.save_steps = 2;
    t.logging.load_best_model_at_end = true;
    t.resolved_options = {{"seed", 42}};
    return run;
  }

  static std::string message_of(const TinyRun& run) {
    try {
      train(run);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  TemporaryDirectory directory_;
};

// Law: of a run that goes on in another folder, the best weights may be in the first.
TEST_F(TrainerEndings, TheBestWeightsOfAnotherFolderAreFound) {
  TinyRun first = run_into("first");
  first.trainer.logging.greater_is_better = true;  // the first evaluation stays the best
  first.interrupt = [](std::int64_t asked) { return asked >= 9 ? 15 : 0; };
  ASSERT_EQ(train(first).signal, 15);
  const auto best = std::filesystem::path(first.trainer.logging.output_dir) / "checkpoint-2";
  TinyRun second = run_into("second");
  second.trainer.logging.greater_is_better = true;
  second.trainer.logging.resume_from_checkpoint =
      list_checkpoints(first.trainer.logging.output_dir).back().directory.string();
  const auto result = train(second);
  const auto expected = CheckpointReader::open_adapter(best);
  for (const auto& [name, tensor] : result.weights) EXPECT_TRUE(torch::equal(tensor, expected.read(name))) << name;
}

TEST_F(TrainerEndings, TheLastWeightsAreKeptWhereTheBestAreGone) {
  TinyRun first = run_into("first");
  first.interrupt = [](std::int64_t asked) { return asked >= 9 ? 15 : 0; };
  train(first);
  const auto latest = list_checkpoints(first.trainer.logging.output_dir).back().directory;
  const auto moved = directory_.path() / latest.filename();
  std::filesystem::rename(latest, moved);
  remove_quietly(first.trainer.logging.output_dir);
  TinyRun second = run_into("second");
  second.trainer.logging.evaluation_strategy = "no";  // no evaluation finds another best
  second.trainer.logging.resume_from_checkpoint = moved.string();
  EXPECT_EQ(train(second).signal, 0);
  EXPECT_TRUE(std::filesystem::exists(directory_.path() / "second/adapter_model.safetensors"));
}

TEST_F(TrainerEndings, NoEvaluationIsMadeThatNobodyAskedFor) {
  TinyRun run = run_into("out");
  run.trainer.logging.evaluation_strategy = "no";
  run.trainer.logging.load_best_model_at_end = false;
  EXPECT_TRUE(train(run).eval_losses.empty());
  EXPECT_FALSE(std::filesystem::exists(directory_.path() / "out/eval_results.json"));
}

TEST_F(TrainerEndings, ADiskThatIsTooSmallForTheWholeRunStopsItBeforeTheFirstStep) {
  TinyRun run = run_into("out");
  run.trainer.optimization.max_steps = 1'000'000'000'000;
  run.trainer.logging.save_steps = 1;
  const std::string message = message_of(run);
  EXPECT_NE(message.find("GB free in "), std::string::npos) << message;
  EXPECT_NE(message.find("for 1000000000000 checkpoints of "), std::string::npos) << message;
  EXPECT_NE(message.find("give a --save_total_limit"), std::string::npos) << message;
}

TEST_F(TrainerEndings, PlannedSavesKeepToTheLimit) {
  TrainerOptions options;
  options.logging.save_steps = 10;
  StepPlan plan;
  plan.max_steps = 100;
  EXPECT_EQ(planned_saves(options, plan, 0), 10);
  EXPECT_EQ(planned_saves(options, plan, 40), 6);
  options.logging.save_total_limit = 2;
  EXPECT_EQ(planned_saves(options, plan, 0), 4);
  options.logging.save_strategy = "no";
  EXPECT_EQ(planned_saves(options, plan, 0), 0);
}

TEST_F(TrainerEndings, AnEvaluationThatIsNoNumberStopsTheRun) {
  TinyRun run = run_into("out");
  run.full = true;
  run.trainer.optimization.learning_rate = 1e30;
  run.trainer.optimization.lr_scheduler_type = "constant";
  run.trainer.logging.eval_steps = 1;
  run.trainer.logging.save_steps = 1;
  const std::string message = message_of(run);
  EXPECT_NE(message.find("step 1: expected a finite eval_loss; found "), std::string::npos) << message;
  EXPECT_NE(message.find("the weights have diverged"), std::string::npos) << message;
}

TEST_F(TrainerEndings, OverwritingRemovesTheResultsOfBefore) {
  TinyRun first = run_into("out");
  first.trainer.finetuning.plot_loss = true;
  train(first);
  ASSERT_TRUE(std::filesystem::exists(directory_.path() / "out/training_eval_loss.png"));
  TinyRun second = run_into("out");
  second.trainer.logging.overwrite_output_dir = true;
  second.trainer.logging.evaluation_strategy = "no";
  second.trainer.logging.load_best_model_at_end = false;
  train(second);
  EXPECT_FALSE(std::filesystem::exists(directory_.path() / "out/training_eval_loss.png"));
  EXPECT_FALSE(std::filesystem::exists(directory_.path() / "out/eval_results.json"));
}

}  // namespace
}  // namespace baichuan
