// A run stopped anywhere and resumed gives the same numbers, bit for bit, as one that was never stopped: dropout,
// shuffling, accumulation, evaluation, and the float16 loss scale on.
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/files.h"
#include "tests/train/tiny_run.h"
#include "train/checkpoint_store.h"

namespace baichuan {
namespace {

class Resume : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(directory_.path() / "model");
    write_tiny_rows(directory_.path() / "rows.json", 23);
  }

  TinyRun run_into(const std::string& name) {
    TinyRun run = tiny_run(directory_.path(), name);
    run.data.val_size = 4;
    run.lora.lora_dropout = 0.1;
    auto& t = run.trainer;
    t.optimization.learning_rate = 1e-2;
    t.optimization.lr_scheduler_type = "cosine";
    t.optimization.per_device_train_batch_size = 2;
    t.optimization.gradient_accumulation_steps = 3;
    t.optimization.num_train_epochs = 2;
    t.logging.evaluation_strategy = "steps";
    t.logging.eval_steps = 2;
    t.logging.save_steps = 2;
    t.logging.logging_steps = 3;
    t.logging.load_best_model_at_end = true;
    t.resolved_options = {{"seed", 42}};
    return run;
  }

  static void expect_equal(const TinyResult& a, const TinyResult& b) {
    ASSERT_EQ(a.weights.size(), b.weights.size());
    for (const auto& [name, tensor] : a.weights) EXPECT_TRUE(torch::equal(tensor, b.weights.at(name))) << name;
  }

  // Every figure of the logs but the times.
  static Json figures(const std::filesystem::path& output) {
    Json rows = read_json_file(output / "trainer_state.json")["log_history"];
    for (auto& row : rows)
      for (const char* const key : {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "train_runtime",
                                    "train_samples_per_second", "train_steps_per_second"})
        row.erase(key);
    return rows;
  }

  // Stops before the n-th question of the trainer whether to stop (each micro-batch asks, each step twice), resumes.
  void expect_resumable_everywhere(const std::function<void(TinyRun&)>& vary, int stride) {
    TinyRun whole_run = run_into("whole");
    vary(whole_run);
    const TinyResult whole = train(whole_run);
    int stops = 0;
    for (std::int64_t stop = 1;; stop += stride) {
      TinyRun first = run_into("stopped");
      remove_quietly(first.trainer.logging.output_dir);
      std::filesystem::create_directories(first.trainer.logging.output_dir);
      vary(first);
      first.interrupt = [stop](std::int64_t asked) { return asked >= stop ? 15 : 0; };
      if (train(first).signal == 0) break;
      ++stops;
      TinyRun second = run_into("stopped");
      vary(second);
      second.trainer.logging.resume_from_checkpoint = "latest";
      const TinyResult resumed = train(second);
      expect_equal(whole, resumed);
      EXPECT_EQ(figures(first.trainer.logging.output_dir), figures(whole_run.trainer.logging.output_dir))
          << "stop " << stop;
      if (testing::Test::HasFailure()) return;
    }
    EXPECT_GE(stops, 4);
  }

  TemporaryDirectory directory_;
};

TEST_F(Resume, LoraGivesTheSameBitsWhereverItStops) {
  expect_resumable_everywhere([](TinyRun&) {}, 3);
}

TEST_F(Resume, FullTrainingInBf16GivesTheSameBits) {
  expect_resumable_everywhere(
      [](TinyRun& run) {
        run.full = true;
        run.compute = at::kBFloat16;
      },
      7);
}

TEST_F(Resume, Float16WithItsLossScaleGivesTheSameBits) {
  expect_resumable_everywhere(
      [](TinyRun& run) {
        run.compute = at::kHalf;
        run.trainer.optimization.fp16 = true;
        // Overflows at first, so that skipped steps and a falling scale are part of what is resumed.
        run.trainer.loss_scale.initial_scale = 1e10;
        run.trainer.loss_scale.window = 3;
      },
      7);
}

TEST_F(Resume, TheOrderOf2023GivesTheSameBits) {
  expect_resumable_everywhere(
      [](TinyRun& run) {
        run.trainer.compat_2023 = true;
        run.trainer.normalization = LossNormalization::kMicroBatch;
      },
      7);
}

TEST_F(Resume, RecomputingActivationsChangesNoBit) {
  TinyRun kept = run_into("kept");
  TinyRun recomputed = run_into("recomputed");
  recomputed.recompute = 2;
  expect_equal(train(kept), train(recomputed));
}

TEST_F(Resume, ChangedOptionsAreReportedFieldByField) {
  train(run_into("out"));
  TinyRun changed = run_into("out");
  changed.trainer.resolved_options = {{"seed", 43}, {"per_device_train_batch_size", 4}};
  changed.trainer.logging.resume_from_checkpoint = "latest";
  try {
    train(changed);
    FAIL() << "nothing was thrown";
  } catch (const CheckpointError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("--seed was 42, is 43"), std::string::npos) << message;
    EXPECT_NE(message.find("--per_device_train_batch_size was unset, is 4"), std::string::npos) << message;
  }
}

TEST_F(Resume, ChangedRowsAreRefused) {
  train(run_into("out"));
  write_tiny_rows(directory_.path() / "rows.json", 24);
  TinyRun changed = run_into("out");
  changed.trainer.logging.resume_from_checkpoint = "latest";
  try {
    train(changed);
    FAIL() << "nothing was thrown";
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("the rows of the data set have changed"), std::string::npos)
        << error.what();
  }
}

TEST_F(Resume, ADamagedCheckpointIsNamedAndTheOneBeforeItOffered) {
  TinyRun run = run_into("out");
  train(run);
  const auto checkpoints = list_checkpoints(run.trainer.logging.output_dir);
  ASSERT_GE(checkpoints.size(), 2u);
  const auto damaged = checkpoints.back().directory / "adapter_model.safetensors";
  std::filesystem::resize_file(damaged, std::filesystem::file_size(damaged) - 1);
  TinyRun again = run_into("out");
  again.trainer.logging.resume_from_checkpoint = checkpoints.back().directory.string();
  try {
    train(again);
    FAIL() << "nothing was thrown";
  } catch (const CheckpointError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("adapter_model.safetensors"), std::string::npos) << message;
    EXPECT_NE(message.find(checkpoints[checkpoints.size() - 2].directory.filename().string()), std::string::npos)
        << message;
  }
}

}  // namespace
}  // namespace baichuan
