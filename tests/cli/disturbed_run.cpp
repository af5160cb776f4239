#include "tests/cli/disturbed_run.h"

#include <sstream>

#include "core/files.h"
#include "tests/cli/processes.h"
#include "tests/cli/tiny_checkpoint.h"
#include "train/checkpoint_manifest.h"
#include "train/checkpoint_store.h"

namespace baichuan {

void DisturbedRun::SetUp() {
  write_tiny_checkpoint(scratch_ / "model", 512);
  Json rows = Json::array();
  for (int i = 0; i < 20; ++i) rows.push_back({{"instruction", "Say it."}, {"output", std::to_string(i)}});
  write_json_file(scratch_ / "rows.json", rows);
  // One thread: the model is too small for more, and idle ones that spin are slow on a busy machine.
  setup_.environment = {{"XDG_CACHE_HOME", (scratch_ / "cache").string()}, {"OMP_NUM_THREADS", "1"}};
}

std::vector<std::string> DisturbedRun::words(const DisturbedRunKind& kind, const std::string& name) const {
  std::vector<std::string> words{"train",
                                 "--stage=sft",
                                 "--do_train",
                                 "--model_name_or_path=" + (scratch_ / "model").string(),
                                 "--dataset=" + (scratch_ / "rows.json").string(),
                                 "--template=default",
                                 "--output_dir=" + output(name).string(),
                                 "--per_device_train_batch_size=2",
                                 "--gradient_accumulation_steps=2",
                                 "--learning_rate=1e-3",
                                 "--max_steps=" + std::to_string(kind.steps),
                                 "--logging_steps=1",
                                 "--save_steps=2",
                                 "--save_total_limit=2",
                                 "--val_size=4",
                                 "--evaluation_strategy=steps",
                                 "--eval_steps=2",
                                 "--load_best_model_at_end",
                                 "--device=cpu"};
  if (kind.ranks == 1) {
    words.emplace_back("--finetuning_type=lora");
  } else {
    for (const std::string& word :
         {std::string("--finetuning_type=full"), std::string("--deterministic_reduce"), std::string("--bf16"),
          "--num_processes=" + std::to_string(kind.ranks), std::string("--ddp_timeout=60")})
      words.push_back(word);
  }
  return words;
}

void DisturbedRun::train_whole(const DisturbedRunKind& kind) {
  const auto whole = run_baichuan(words(kind, "whole"), setup_);
  ASSERT_EQ(whole.status, 0) << whole.err;
}

bool DisturbedRun::recovers_from_crash_at(const DisturbedRunKind& kind, int n) {
  const std::string name = "killed_at_" + std::to_string(n);
  RunSetup setup = setup_;
  setup.environment["BAICHUAN_CRASH_AT"] = std::to_string(n);
  const auto first = run_baichuan(words(kind, name), setup);
  if (first.status == 0) return false;
  EXPECT_EQ(first.status, kind.ranks == 1 ? 128 + 9 : 1) << first.err;
  expect_recovery(kind, name, "killed at operation " + std::to_string(n));
  remove_quietly(output(name));
  return true;
}

void DisturbedRun::expect_recovery(const DisturbedRunKind& kind, const std::string& name, const std::string& what) {
  expect_whole_checkpoints(name, what);
  EXPECT_TRUE(processes_naming(output(name).string()).empty()) << what << ": a process was left";
  auto more = words(kind, name);
  if (holds_checkpoint(output(name))) more.emplace_back("--resume_from_checkpoint=latest"), ++resumed_runs_;
  const auto second = run_baichuan(more, setup_);
  ASSERT_EQ(second.status, 0) << what << ": " << second.err;
  EXPECT_EQ(weights(kind, name), weights(kind, "whole")) << what;
  EXPECT_EQ(history(name), history("whole")) << what;
  EXPECT_EQ(log_rows(name), log_rows("whole")) << what;
  expect_whole_checkpoints(name, what);
  for (const auto& entry : fs::directory_iterator(output(name)))
    EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path() << " was left; " << what;
}

void DisturbedRun::expect_whole_checkpoints(const std::string& name, const std::string& what) const {
  for (const auto& checkpoint : list_checkpoints(output(name)))
    EXPECT_FALSE(find_damage(checkpoint.directory)) << checkpoint.directory << ", " << what;
}

std::string DisturbedRun::weights(const DisturbedRunKind& kind, const std::string& name) const {
  return read_file(output(name) / (kind.ranks == 1 ? "adapter_model.safetensors" : "model.safetensors"));
}

// log_history without what a clock measured.
Json DisturbedRun::history(const std::string& name) const {
  Json rows = read_json_file(output(name) / "trainer_state.json").at("log_history");
  for (auto& row : rows)
    for (const char* timed : {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "train_runtime",
                              "train_samples_per_second", "train_steps_per_second"})
      row.erase(timed);
  return rows;
}

std::vector<Json> DisturbedRun::log_rows(const std::string& name) const {
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

}  // namespace baichuan
