// Law: a run that is killed at any operation on its files, and started again, ends with the same bits, logs and
// checkpoints as one that was never disturbed.
#include <sstream>

#include <gtest/gtest.h>

#include "core/files.h"
#include "core/json.h"
#include "tests/cli/program.h"
#include "tests/cli/tiny_checkpoint.h"
#include "tests/scratch_directory.h"
#include "train/checkpoint_manifest.h"
#include "train/checkpoint_store.h"

namespace baichuan {
namespace {

constexpr int kKilled = 128 + 9;

class KilledTraining : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_checkpoint(scratch_ / "model", 512);
    Json rows = Json::array();
    for (int i = 0; i < 20; ++i) rows.push_back({{"instruction", "Say it."}, {"output", std::to_string(i)}});
    write_json_file(scratch_ / "rows.json", rows);
    // One thread: the model is too small for more, and idle ones that spin are slow on a busy machine.
    setup_.environment = {{"XDG_CACHE_HOME", (scratch_ / "cache").string()}, {"OMP_NUM_THREADS", "1"}};
  }

  fs::path output(const std::string& name) const { return scratch_ / name; }

  RunResult train(const std::string& name, const std::vector<std::string>& more, int crash_at = 0) const {
    std::vector<std::string> words{"train",
                                   "--stage=sft",
                                   "--do_train",
                                   "--model_name_or_path=" + (scratch_ / "model").string(),
                                   "--dataset=" + (scratch_ / "rows.json").string(),
                                   "--template=default",
                                   "--finetuning_type=lora",
                                   "--output_dir=" + output(name).string(),
                                   "--per_device_train_batch_size=2",
                                   "--gradient_accumulation_steps=2",
                                   "--learning_rate=1e-3",
                                   "--max_steps=6",
                                   "--logging_steps=1",
                                   "--save_steps=2",
                                   "--save_total_limit=2",
                                   "--val_size=4",
                                   "--evaluation_strategy=steps",
                                   "--eval_steps=2",
                                   "--load_best_model_at_end",
                                   "--device=cpu"};
    words.insert(words.end(), more.begin(), more.end());
    RunSetup setup = setup_;
    if (crash_at > 0) setup.environment["BAICHUAN_CRASH_AT"] = std::to_string(crash_at);
    return run_baichuan(words, setup);
  }

  // log_history without what a clock measured.
  Json history(const std::string& name) const {
    Json rows = read_json_file(output(name) / "trainer_state.json").at("log_history");
    for (auto& row : rows)
      for (const char* timed : {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "train_runtime",
                                "train_samples_per_second", "train_steps_per_second"})
        row.erase(timed);
    return rows;
  }

  std::vector<Json> log_rows(const std::string& name) const {
    std::vector<Json> rows;
    std::istringstream lines(read_file(output(name) / "trainer_log.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      Json row = Json::parse(line);
      for (const char* timed : {"elapsed_time", "remaining_time", "tokens_per_second", "peak_memory_bytes", "mfu"})
        row.erase(timed);
      rows.push_back(row);
    }
    return rows;
  }

  ScratchDirectory scratch_;
  RunSetup setup_;
};

TEST_F(KilledTraining, GoesOnToTheSameEndWhereverItWasKilled) {
  const auto whole = train("whole", {});
  ASSERT_EQ(whole.status, 0) << whole.err;
  const std::string adapter = read_file(output("whole") / "adapter_model.safetensors");

  int kills = 0;
  int resumed_runs = 0;
  for (int n = 2;; n += 11, ++kills) {  // 11 shares no factor with the operations of a checkpoint
    const std::string name = "killed_at_" + std::to_string(n);
    const auto first = train(name, {}, n);
    if (first.status != kKilled) {
      EXPECT_EQ(first.status, 0) << first.err;
      break;
    }
    for (const auto& checkpoint : list_checkpoints(output(name)))
      EXPECT_FALSE(find_damage(checkpoint.directory)) << "killed at " << n;
    std::vector<std::string> more;
    if (holds_checkpoint(output(name))) more.push_back("--resume_from_checkpoint=latest"), ++resumed_runs;
    const auto second = train(name, more);
    ASSERT_EQ(second.status, 0) << "killed at " << n << ": " << second.err;
    EXPECT_EQ(read_file(output(name) / "adapter_model.safetensors"), adapter) << "killed at " << n;
    EXPECT_EQ(history(name), history("whole")) << "killed at " << n;
    EXPECT_EQ(log_rows(name), log_rows("whole")) << "killed at " << n;
    for (const auto& entry : fs::directory_iterator(output(name)))
      EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path() << " was left at " << n;
  }
  EXPECT_GE(kills, 5);
  EXPECT_GE(resumed_runs, 3);
}

}  // namespace
}  // namespace baichuan
