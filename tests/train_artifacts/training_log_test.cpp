#include "train/training_log.h"

#include <sstream>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files.h"
#include "tests/scratch_directory.h"

namespace baichuan {
namespace {

std::vector<OrderedJson> read_rows(const fs::path& path) {
  std::vector<OrderedJson> rows;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) rows.push_back(OrderedJson::parse(line));
  return rows;
}

std::vector<std::string> keys(const OrderedJson& row) {
  std::vector<std::string> names;
  for (const auto& item : row.items()) names.push_back(item.key());
  return names;
}

LogPosition at(std::int64_t step) {
  return {.step = step, .epoch = step / 3.0, .elapsed_seconds = 10.0 * step, .remaining_seconds = 100.0 - 10 * step};
}

TrainLogRow train_row(std::int64_t step) {
  return {.at = at(step),
          .loss = 1.0 / 3 + step,
          .learning_rate = 1e-3 / 7,
          .grad_norm = 0.1,
          .tokens_per_second = 123.25,
          .mfu = 0.5,
          .peak_memory_bytes = 1 << 20};
}

EvaluationRow evaluation_row(std::int64_t step) {
  return {.at = at(step), .loss = 2.0 + step, .runtime_seconds = 0.5, .samples = 4, .batches = 2};
}

// Steps 1 … n, an evaluation and a saved state at every second one.
void run_steps(TrainingLog& log, const fs::path& output_dir, int first, int last) {
  for (int step = first; step <= last; ++step) {
    log.on_train_log(train_row(step));
    if (step % 2 != 0) continue;
    log.on_evaluation(evaluation_row(step));
    const fs::path checkpoint = output_dir / fmt::format("checkpoint-{}", step);
    fs::create_directories(checkpoint);
    log.save_state(checkpoint, at(step), 5e9);
  }
}

TEST(TrainingLog, RowsHoldTheKeysThatReadersKnow) {
  ScratchDirectory out;
  TrainingLog log(out.path(), 6, 2);
  log.start_fresh();
  log.on_train_log(train_row(1));
  log.on_evaluation(evaluation_row(1));
  const auto rows = read_rows(out / "trainer_log.jsonl");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(keys(rows[0]), (std::vector<std::string>{"current_steps", "total_steps", "loss", "learning_rate", "epoch",
                                                     "percentage", "elapsed_time", "remaining_time",
                                                     "tokens_per_second", "grad_norm", "mfu", "peak_memory_bytes"}));
  EXPECT_EQ(keys(rows[1]), (std::vector<std::string>{"current_steps", "total_steps", "eval_loss", "epoch", "percentage",
                                                     "elapsed_time", "remaining_time"}));
  EXPECT_EQ(rows[0]["percentage"], 16.67);
  EXPECT_EQ(rows[0]["elapsed_time"], "0:00:10");
  EXPECT_EQ(rows[0]["remaining_time"], "0:01:30");
  EXPECT_EQ(rows[0]["loss"].get<double>(), 1.0 / 3 + 1);
}

TEST(TrainingLog, HistoryIsUnrounded) {
  ScratchDirectory out;
  TrainingLog log(out.path(), 6, 2);
  log.start_fresh();
  run_steps(log, out.path(), 1, 2);
  const Json state = read_json_file(out / "checkpoint-2/trainer_state.json");
  EXPECT_EQ(state.at("global_step"), 2);
  EXPECT_EQ(state.at("max_steps"), 6);
  EXPECT_EQ(state.at("num_train_epochs"), 2.0);
  EXPECT_TRUE(state.at("best_metric").is_null());
  EXPECT_EQ(state.at("total_flos"), 5e9);
  const Json& history = state.at("log_history");
  ASSERT_EQ(history.size(), 3u);
  EXPECT_EQ(
      history[0],
      (Json{{"step", 1}, {"epoch", 1 / 3.0}, {"loss", 1.0 / 3 + 1}, {"learning_rate", 1e-3 / 7}, {"grad_norm", 0.1}}));
  EXPECT_EQ(history[2], (Json{{"step", 2},
                              {"epoch", 2 / 3.0},
                              {"eval_loss", 4.0},
                              {"eval_runtime", 0.5},
                              {"eval_samples_per_second", 8.0},
                              {"eval_steps_per_second", 4.0}}));
}

TEST(TrainingLog, AfterAResumeLaterRowsAreGone) {
  ScratchDirectory out;
  {
    TrainingLog log(out.path(), 6, 2);
    log.start_fresh();
    run_steps(log, out.path(), 1, 5);
  }
  TrainingLog log(out.path(), 6, 2);
  log.resume(out / "checkpoint-2");
  EXPECT_EQ(read_rows(out / "trainer_log.jsonl").size(), 3u);
  EXPECT_EQ(log.history().size(), 3u);
  run_steps(log, out.path(), 3, 6);

  ScratchDirectory straight;
  TrainingLog uninterrupted(straight.path(), 6, 2);
  uninterrupted.start_fresh();
  run_steps(uninterrupted, straight.path(), 1, 6);
  EXPECT_EQ(log.history(), uninterrupted.history());
  EXPECT_EQ(read_file(out / "trainer_log.jsonl"), read_file(straight / "trainer_log.jsonl"));
}

// The final evaluation's row has the step of the last checkpoint, but came after it.
TEST(TrainingLog, ARowOfTheCheckpointsStepThatCameAfterItIsCutOffToo) {
  ScratchDirectory out;
  TrainingLog log(out.path(), 2, 1);
  log.start_fresh();
  run_steps(log, out.path(), 1, 2);
  log.on_evaluation(evaluation_row(2));
  EXPECT_EQ(read_rows(out / "trainer_log.jsonl").size(), 4u);
  TrainingLog resumed(out.path(), 2, 1);
  resumed.resume(out / "checkpoint-2");
  EXPECT_EQ(read_rows(out / "trainer_log.jsonl").size(), 3u);
}

TEST(TrainingLog, ARowTornByAKillIsWrittenAnew) {
  ScratchDirectory out;
  TrainingLog log(out.path(), 6, 2);
  log.start_fresh();
  run_steps(log, out.path(), 1, 2);
  std::string rows = read_file(out / "trainer_log.jsonl");
  rows.resize(rows.size() - 20);
  write_file_atomically(out / "trainer_log.jsonl", rows);
  TrainingLog resumed(out.path(), 6, 2);
  resumed.resume(out / "checkpoint-2");
  const auto found = read_rows(out / "trainer_log.jsonl");
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[1]["tokens_per_second"], 123.25) << "rows that were whole stay as they are";
  EXPECT_EQ(found[2]["eval_loss"], 4.0);
}

// Somebody resumed from step 2 with other options, then goes back to the first run's step 4.
TEST(TrainingLog, RowsOfAnotherBranchAreReplaced) {
  ScratchDirectory out;
  TrainingLog log(out.path(), 6, 2);
  log.start_fresh();
  run_steps(log, out.path(), 1, 4);
  TrainingLog other(out.path(), 6, 2);
  other.resume(out / "checkpoint-2");
  TrainLogRow row = train_row(3);
  row.loss = 77;
  other.on_train_log(row);
  TrainingLog back(out.path(), 6, 2);
  back.resume(out / "checkpoint-4");
  const auto found = read_rows(out / "trainer_log.jsonl");
  ASSERT_EQ(found.size(), 6u);
  EXPECT_EQ(found[3]["loss"], 1.0 / 3 + 3);
  EXPECT_EQ(found[5]["eval_loss"], 6.0);
}

TEST(TrainingLog, InAnotherOutputDirectoryTheRowsAreWrittenAnew) {
  ScratchDirectory out;
  TrainingLog log(out.path(), 6, 2);
  log.start_fresh();
  run_steps(log, out.path(), 1, 2);
  ScratchDirectory other;
  TrainingLog resumed(other.path(), 6, 2);
  resumed.resume(out / "checkpoint-2");
  const auto rows = read_rows(other / "trainer_log.jsonl");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1]["loss"], 1.0 / 3 + 2);
  EXPECT_EQ(rows[1]["learning_rate"], 1e-3 / 7);
  EXPECT_EQ(rows[2]["eval_loss"], 4.0);
}

TEST(TrainingLog, TheBestCheckpointIsRemembered) {
  ScratchDirectory out;
  TrainingLog log(out.path(), 6, 2);
  log.start_fresh();
  log.set_best(1.25, "out/checkpoint-4");
  log.save_state(out.path(), at(4), 0);
  TrainingLog resumed(out.path(), 6, 2);
  resumed.resume(out.path());
  EXPECT_EQ(resumed.best_metric(), 1.25);
  EXPECT_EQ(resumed.best_checkpoint(), "out/checkpoint-4");
}

TEST(TrainingLog, ACheckpointWithoutItsStateIsRefused) {
  ScratchDirectory out;
  TrainingLog log(out.path(), 6, 2);
  try {
    log.resume(out.path());
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_EQ(error.what(), "a checkpoint to resume from holds trainer_state.json; " + out.path().string() +
                                " has none; resume from another checkpoint");
  }
  write_file_atomically(out / "trainer_state.json", "{\"epoch\": 1}");
  try {
    log.resume(out.path());
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("was expected to hold log_history"), std::string::npos) << error.what();
  }
}

TEST(TrainingLog, ResultsAreSortedAndMerged) {
  ScratchDirectory out;
  write_file_atomically(out / "all_results.json", "{\"of_an_earlier_run\": 1}");
  TrainingLog log(out.path(), 6, 2);
  log.start_fresh();
  log.on_train_log(train_row(6));
  log.on_train_end({.at = at(6), .mean_loss = 3.5, .runtime_seconds = 2, .samples = 40, .steps = 6, .total_flos = 8e9});
  log.on_evaluation(evaluation_row(6));
  log.save_eval_results();
  EXPECT_EQ(read_file(out / "train_results.json"), R"({
    "epoch": 2.0,
    "train_loss": 3.5,
    "train_runtime": 2.0,
    "train_samples_per_second": 20.0,
    "train_steps_per_second": 3.0
})");
  EXPECT_EQ(read_file(out / "eval_results.json"), R"({
    "epoch": 2.0,
    "eval_loss": 8.0,
    "eval_runtime": 0.5,
    "eval_samples_per_second": 8.0,
    "eval_steps_per_second": 4.0
})");
  const Json all = read_json_file(out / "all_results.json");
  EXPECT_EQ(all.size(), 9u);
  EXPECT_EQ(log.history()[1].at("total_flos"), 8e9);
  EXPECT_EQ(all.at("train_loss"), 3.5);
  EXPECT_EQ(all.at("eval_loss"), 8.0);
  EXPECT_EQ(log.history()[1].at("train_loss"), 3.5);
}

TEST(TrainingLog, PlotsWhatItHasSeen) {
  ScratchDirectory out;
  TrainingLog log(out.path(), 6, 2);
  log.start_fresh();
  log.on_train_log(train_row(1));
  log.save_plots();
  EXPECT_TRUE(fs::exists(out / "training_loss.png"));
  EXPECT_FALSE(fs::exists(out / "training_eval_loss.png"));
  log.on_evaluation(evaluation_row(1));
  log.save_plots();
  EXPECT_TRUE(fs::exists(out / "training_eval_loss.png"));
  EXPECT_EQ(log.points("eval_loss").size(), 1u);
}

TEST(TrainingLog, AFolderThatCannotBeWrittenIsNamed) {
  TrainingLog log("/nonexistent", 6, 2);
  try {
    log.on_train_log(train_row(1));
    FAIL();
  } catch (const MachineError& error) {
    EXPECT_STREQ(error.what(),
                 "cannot write /nonexistent/trainer_log.jsonl: No such file or directory; free some "
                 "disk space or choose another --output_dir");
  }
}

}  // namespace
}  // namespace baichuan
