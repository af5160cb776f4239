#include "train/start_or_resume.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files.h"
#include "tests/scratch_directory.h"
#include "train/checkpoint_store.h"

namespace baichuan {
namespace {

class StartOrResume : public testing::Test {
 protected:
  void SetUp() override { logging_.output_dir = scratch_.path().string(); }

  fs::path write_checkpoint(std::int64_t step) {
    CheckpointStore store(scratch_.path());
    auto pending = store.begin(step, 0);
    write_file_atomically(pending.directory() / "weights", "weights");
    return pending.finish();
  }

  std::string restart(std::int64_t count, std::int64_t max = 0) {
    testing::internal::CaptureStderr();
    const auto newest = newest_valid_checkpoint(scratch_.path());
    apply_restart(logging_, count, max, newest ? std::optional(newest->directory) : std::nullopt);
    return testing::internal::GetCapturedStderr();
  }

  ScratchDirectory scratch_;
  LoggingOptions logging_;
};

TEST_F(StartOrResume, RefusesToStartBesideCheckpointsUnlessToldWhatToDoWithThem) {
  EXPECT_NO_THROW(require_startable(logging_));
  write_checkpoint(10);
  EXPECT_THROW(require_startable(logging_), CheckpointError);
  logging_.resume_from_checkpoint = "false";
  EXPECT_THROW(require_startable(logging_), CheckpointError);
  logging_.resume_from_checkpoint = "latest";
  EXPECT_NO_THROW(require_startable(logging_));
  logging_.resume_from_checkpoint.reset();
  logging_.overwrite_output_dir = true;
  EXPECT_NO_THROW(require_startable(logging_));
}

TEST_F(StartOrResume, TheFirstStartKeepsItsOptions) {
  write_checkpoint(10);
  EXPECT_EQ(restart(0, 3), "");
  EXPECT_FALSE(logging_.resume_from_checkpoint.has_value());
}

TEST_F(StartOrResume, ARestartGoesOnFromTheNewestValidCheckpoint) {
  logging_.overwrite_output_dir = true;
  write_checkpoint(10);
  const fs::path newest = write_checkpoint(20);
  EXPECT_EQ(restart(1, 3), "info: restart 1 of 3 from checkpoint-20\n");
  EXPECT_EQ(logging_.resume_from_checkpoint, newest.string());
  write_file_atomically(write_checkpoint(30) / "weights", "damaged");
  EXPECT_EQ(restart(2), "info: restart 2 from checkpoint-20\n");
  EXPECT_EQ(resolve_resume_checkpoint(logging_.output_dir, *logging_.resume_from_checkpoint), newest);
}

TEST_F(StartOrResume, ARestartWithoutAValidCheckpointIsAsTheFirstStart) {
  EXPECT_EQ(restart(1, 3), "info: restart 1 of 3 from the beginning\n");
  EXPECT_FALSE(logging_.resume_from_checkpoint.has_value());
  EXPECT_FALSE(logging_.overwrite_output_dir);
  fs::create_directories(scratch_ / "checkpoint-40" / "global_step40");
  restart(2, 3);
  EXPECT_THROW(require_startable(logging_), CheckpointError) << "what others have written is never taken away";
  logging_.resume_from_checkpoint = "elsewhere/checkpoint-7";
  EXPECT_EQ(restart(3, 3), "info: restart 3 of 3 from elsewhere/checkpoint-7\n");
  EXPECT_EQ(logging_.resume_from_checkpoint, "elsewhere/checkpoint-7");
}

TEST_F(StartOrResume, EarlierCheckpointsAreLeftUntilTheyAreReplacedOrRemoved) {
  EXPECT_FALSE(EarlierCheckpoints(scratch_ / "missing").any_left());
  write_checkpoint(10);
  const fs::path second = write_checkpoint(20);
  const EarlierCheckpoints earlier(scratch_.path());
  write_checkpoint(10);
  EXPECT_TRUE(earlier.any_left());
  fs::remove_all(second);
  EXPECT_FALSE(earlier.any_left());
  write_checkpoint(30);
  EXPECT_FALSE(earlier.any_left());
}

}  // namespace
}  // namespace baichuan
