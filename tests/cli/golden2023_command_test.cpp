// `baichuan train --compat 2023` repeats recorded runs of the Python stack of 2023, started as they were: with the
// flags of the recording, nothing set from within. What the files do not show, the rows of every micro-batch, is
// tests/train/golden2023_test.cpp's.
#include <sstream>

#include <gtest/gtest.h>

#include "core/files.h"
#include "core/json.h"
#include "tests/cli/program.h"
#include "tests/scratch_directory.h"
#include "tests/train/golden2023.h"

namespace baichuan {
namespace {

class Golden2023Command : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kGolden)) GTEST_SKIP() << "needs ../shared/data";
    write_golden_model(directory_ / "model");
    write_golden_adapter(directory_ / "init_adapter");
    setup_.environment["XDG_CACHE_HOME"] = (directory_ / "cache").string();
  }

  RunResult repeat(const std::string& datasets, const std::vector<std::string>& more) {
    std::vector<std::string> words{"train",
                                   "--compat",
                                   "2023",
                                   "--template_compat",
                                   "2023-08",
                                   "--optim",
                                   "adamw_hf",
                                   "--stage",
                                   "sft",
                                   "--do_train",
                                   "--do_eval",
                                   "--device",
                                   "cpu",
                                   "--model_name_or_path",
                                   (directory_ / "model").string(),
                                   "--output_dir",
                                   output().string(),
                                   "--dataset_dir",
                                   (kGolden / "data").string(),
                                   "--dataset",
                                   datasets};
    // As reference/finetuning-compat.md 8 has them.
    std::istringstream recorded(
        "--template default --per_device_train_batch_size 2 --per_device_eval_batch_size 3 --lr_scheduler_type cosine "
        "--learning_rate 1e-3 --max_grad_norm 0.5 --num_train_epochs 3 --val_size 4 --evaluation_strategy steps "
        "--eval_steps 4 --save_steps 4 --logging_steps 1 --load_best_model_at_end --plot_loss --seed 42 "
        "--gradient_accumulation_steps 5");
    for (std::string word; recorded >> word;) words.push_back(word);
    words.insert(words.end(), more.begin(), more.end());
    return run_baichuan(words, setup_);
  }

  std::filesystem::path output() const { return directory_ / "output"; }

  ScratchDirectory directory_;
  RunSetup setup_;
};

// The loss of each update was recorded micro-batch by micro-batch; norms are those before clipping.
void expect_same_updates(const std::filesystem::path& output, const std::filesystem::path& recorded, int accumulation) {
  const Json trace = read_json_file(recorded / "trace.json");
  const Json history = read_json_file(output / "trainer_state.json")["log_history"];
  std::size_t update = 0;
  for (const Json& row : history) {
    if (!row.contains("loss")) continue;
    ASSERT_LT(update, trace["updates"].size());
    double sum = 0;
    for (int i = 0; i < accumulation; ++i)
      sum += trace["micro"][update * static_cast<std::size_t>(accumulation) + static_cast<std::size_t>(i)]["loss"]
                 .get<double>();
    EXPECT_NEAR(row["loss"].get<double>(), sum / accumulation, kLossTolerance) << "update " << update;
    const double norm = trace["updates"][update]["grad_norm"];
    EXPECT_NEAR(row["grad_norm"].get<double>() / norm, 1, kNormTolerance) << "update " << update;
    ++update;
  }
  EXPECT_EQ(update, trace["updates"].size());
}

void expect_same_evaluations(const std::filesystem::path& output, const std::filesystem::path& recorded) {
  const auto losses = [](const std::filesystem::path& directory) {
    std::vector<std::pair<int, double>> found;
    for (const Json& row : read_json_file(directory / "trainer_state.json")["log_history"])
      if (row.contains("eval_loss")) found.emplace_back(row["step"].get<int>(), row["eval_loss"].get<double>());
    return found;
  };
  const auto theirs = losses(recorded);
  const auto ours = losses(output);
  ASSERT_GE(ours.size(), theirs.size());
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    EXPECT_EQ(ours[i].first, theirs[i].first);
    EXPECT_NEAR(ours[i].second, theirs[i].second, kLossTolerance);
  }
  for (const char* file : {"all_results.json", "eval_results.json"})
    EXPECT_NEAR(read_json_file(output / file)["eval_loss"].get<double>(),
                read_json_file(recorded / file)["eval_loss"].get<double>(), kLossTolerance)
        << file;
}

std::vector<Json> read_rows(const std::filesystem::path& file) {
  std::istringstream text(read_file(file));
  std::vector<Json> rows;
  for (std::string line; std::getline(text, line);) rows.push_back(Json::parse(line));
  return rows;
}

// Row by row up to the last step. What follows there (a row of the whole, and an evaluation that counts batches for
// steps) is no progress of the run.
void expect_same_trainer_log(const std::filesystem::path& output, const std::filesystem::path& recorded) {
  constexpr double kRounded = 0.0051;  // percentages and epochs have two digits there
  const auto ours = read_rows(output / "trainer_log.jsonl");
  std::size_t at = 0;
  for (const Json& row : read_rows(recorded / "trainer_log.jsonl")) {
    if (row["loss"].is_null() && row["current_steps"] == row["total_steps"]) break;
    ASSERT_LT(at, ours.size());
    const Json& mine = ours[at++];
    EXPECT_EQ(mine["current_steps"], row["current_steps"]);
    EXPECT_EQ(mine["total_steps"], row["total_steps"]);
    EXPECT_NEAR(mine["percentage"].get<double>(), row["percentage"].get<double>(), kRounded);
    EXPECT_NEAR(mine["epoch"].get<double>(), row["epoch"].get<double>(), kRounded);
    if (!row["loss"].is_null()) {
      EXPECT_NEAR(mine["loss"].get<double>(), row["loss"].get<double>(), 1e-4) << "four digits there";
      EXPECT_EQ(mine["learning_rate"], row["learning_rate"]);
    }
    if (!row["eval_loss"].is_null()) {
      EXPECT_NEAR(mine["eval_loss"].get<double>(), row["eval_loss"].get<double>(), kLossTolerance);
    }
  }
  EXPECT_GE(at, 6u);
}

TEST_F(Golden2023Command, RepeatsARecordedLoraRun) {
  const auto run =
      repeat("zh13,en12", {"--finetuning_type", "lora", "--lora_target", "W_pack", "--lora_rank", "8", "--lora_alpha",
                           "32", "--lora_dropout", "0", "--checkpoint_dir", (directory_ / "init_adapter").string()});
  ASSERT_EQ(run.status, 0) << run.err;
  const auto recorded = kGolden / "sft/lora_rem";
  expect_same_updates(output(), recorded, 5);
  expect_same_evaluations(output(), recorded);
  expect_same_trainer_log(output(), recorded);
  expect_same_logs(output(), recorded);
  expect_same_adapter(output(), recorded);
}

TEST_F(Golden2023Command, RepeatsARecordedFullRun) {
  const auto run = repeat("zh12,en12", {"--finetuning_type", "full"});
  ASSERT_EQ(run.status, 0) << run.err;
  const auto recorded = kGolden / "sft/full_brief";
  expect_same_updates(output(), recorded, 5);
  expect_same_evaluations(output(), recorded);
  expect_same_trainer_log(output(), recorded);
  expect_same_logs(output(), recorded);
  expect_same_weights(output(), recorded);
}

}  // namespace
}  // namespace baichuan
