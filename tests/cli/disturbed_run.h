// Training runs of the program that are killed and go on, for tests that compare them with one that was never
// disturbed.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/json.h"
#include "tests/cli/program.h"
#include "tests/scratch_directory.h"

namespace baichuan {

// LoRA by one process, or full training by several.
struct DisturbedRunKind {
  int ranks = 1;
  int steps = 6;
};

class DisturbedRun : public testing::Test {
 protected:
  void SetUp() override;

  std::filesystem::path output(const std::string& name) const { return scratch_ / name; }
  std::vector<std::string> words(const DisturbedRunKind& kind, const std::string& name) const;
  // The run that is never disturbed: what the others must come to.
  void train_whole(const DisturbedRunKind& kind);
  // Killed at the n-th operation on its files, and gone on with to the end. False where it had no n-th.
  bool recovers_from_crash_at(const DisturbedRunKind& kind, int n);
  // What is on the disk after a kill is whole; then the run goes on and ends as the undisturbed one.
  void expect_recovery(const DisturbedRunKind& kind, const std::string& name, const std::string& what);

  ScratchDirectory scratch_;
  RunSetup setup_;
  int resumed_runs_ = 0;

 private:
  void expect_whole_checkpoints(const std::string& name, const std::string& what) const;
  std::string weights(const DisturbedRunKind& kind, const std::string& name) const;
  Json history(const std::string& name) const;
  std::vector<Json> log_rows(const std::string& name) const;
};

}  // namespace baichuan
