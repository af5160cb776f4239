#include "train/fitting.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/plan/plan_runs.h"
#include "train/memory_plan.h"

namespace baichuan {
namespace {

using testing::HasSubstr;

std::vector<std::string> changes(const RunShape& run, const Accelerator& device) {
  std::vector<std::string> result;
  for (const auto& alternative : what_fits(run, device)) result.push_back(alternative.change);
  return result;
}

Accelerator with_memory(std::int64_t bytes) {
  Accelerator device = *find_gpu("a100-80gb");
  device.memory_bytes = bytes;
  return device;
}

TEST(WhatFits, EveryAlternativeFits) {
  const Accelerator device = with_memory(62'000'000'000);
  const auto alternatives = what_fits(readme_run(4096), device);
  ASSERT_FALSE(alternatives.empty());
  for (const auto& a : alternatives) EXPECT_LE(a.allocated_bytes, allocation_budget(device, 8)) << a.change;
}

TEST(WhatFits, RecomputationComesFirst) {
  EXPECT_EQ(changes(readme_run(), *find_gpu("a100-80gb")).front(), "--recompute_layers 8");
}

TEST(WhatFits, ASmallerBatchKeepsTheRowsOfAStep) {
  RunShape run = readme_run(4096);
  run.recomputed_layers = 40;
  const auto all = changes(run, with_memory(70'000'000'000));
  EXPECT_THAT(all, testing::Contains("--per_device_train_batch_size 2 --gradient_accumulation_steps 16"));
}

TEST(WhatFits, AHigherStageIsOffered) {
  RunShape run = readme_run();
  for (const Sharding stage : {Sharding::kStage0, Sharding::kStage1}) {
    run.sharding = stage;
    EXPECT_THAT(changes(run, *find_gpu("a100-80gb")), testing::Contains("zero_optimization.stage 2"));
  }
}

TEST(WhatFits, ShorterRowsMoreGpusAndAdaptersAreOffered) {
  RunShape run = readme_run(4096);
  run.recomputed_layers = 40;
  const auto all = changes(run, with_memory(64'000'000'000));
  EXPECT_THAT(all, testing::Contains(HasSubstr("--cutoff_len ")));
  EXPECT_THAT(all, testing::Contains(testing::StartsWith("--num_gpus ")));
  EXPECT_THAT(all, testing::Contains("--finetuning_type lora"));
}

TEST(WhatFits, ChangesAreCombinedWhereNoneIsEnough) {
  RunShape run = readme_run(32768);
  run.sharding = Sharding::kStage0;
  run.model = preset_config("7b");
  Accelerator device = this_machine(8, false);  // more ranks are no help there
  run.on_gpu = false;
  device.memory_bytes = 50'000'000'000;
  EXPECT_THAT(changes(run, device), testing::Contains("zero_optimization.stage 2 with --per_device_train_batch_size 1 "
                                                      "--gradient_accumulation_steps 32"));
}

TEST(WhatFits, WhatIsNotBuiltSaysSo) {
  const auto alternatives = what_fits(readme_run(), with_memory(46'000'000'000));
  const auto unbuilt = [&](const std::string& change) {
    return std::any_of(alternatives.begin(), alternatives.end(),
                       [&](const Alternative& a) { return a.change == change && !a.built; });
  };
  EXPECT_TRUE(unbuilt("zero_optimization.stage 3"));
  EXPECT_TRUE(unbuilt("zero_optimization.offload_optimizer"));
}

TEST(WhatFits, NothingHelpsATinyDevice) {
  EXPECT_TRUE(what_fits(readme_run(), with_memory(2'000'000'000)).empty());
}

TEST(WhatFits, UnbuiltStagesTakeTheDesignsMemory) {
  RunShape run = readme_run();
  EXPECT_NEAR(static_cast<double>(stage3_state_bytes(run)) / 1e9, 29.85 + 1.3 + 2.6, 0.1) << "two gathered, the ring";
  EXPECT_NEAR(static_cast<double>(offload_state_bytes(run)) / 1e9, 33.2 + 2.6, 0.1);
}

}  // namespace
}  // namespace baichuan
