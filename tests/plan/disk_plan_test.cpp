#include "train/disk_plan.h"

#include <gtest/gtest.h>

#include "tests/plan/plan_runs.h"

namespace baichuan {
namespace {

LoggingOptions every(double steps) {
  LoggingOptions logging;
  logging.save_steps = steps;
  return logging;
}

TEST(DiskPlan, TheReadmesRunKeepsSevenCheckpoints) {
  const DiskPlan plan = plan_disk(readme_run(), every(100), /*max_steps=*/780, /*steps_per_epoch=*/390);
  EXPECT_EQ(plan.written, 7);
  EXPECT_EQ(plan.kept, 7);
  EXPECT_NEAR(static_cast<double>(plan.total_bytes()) / 1e12, 7 * 0.18571 + 0.02653, 1e-4);
}

TEST(DiskPlan, ALimitKeepsOneMoreWhileItIsWritten) {
  LoggingOptions logging = every(100);
  logging.save_total_limit = 2;
  EXPECT_EQ(plan_disk(readme_run(), logging, 780, 390).kept, 3);
  logging.save_total_limit = 1;
  EXPECT_EQ(plan_disk(readme_run(), logging, 780, 390).kept, 2);
  logging.load_best_model_at_end = true;
  EXPECT_EQ(plan_disk(readme_run(), logging, 780, 390).kept, 3) << "the best, the newest, the one being written";
  logging.save_total_limit = 20;
  EXPECT_EQ(plan_disk(readme_run(), logging, 780, 390).kept, 7);
}

TEST(DiskPlan, FollowsTheStrategy) {
  LoggingOptions logging = every(0.1);
  EXPECT_EQ(plan_disk(readme_run(), logging, 780, 390).written, 10) << "a share of all steps";
  logging.save_strategy = "epoch";
  EXPECT_EQ(plan_disk(readme_run(), logging, 780, 390).written, 2);
  logging.save_strategy = "no";
  EXPECT_EQ(plan_disk(readme_run(), logging, 780, 390).total_bytes(),
            plan_disk(readme_run(), logging, 1, 1).final_model);
}

}  // namespace
}  // namespace baichuan
