#include "train/step_plan.h"

#include <fstream>
#include <numeric>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "train/data_order.h"

namespace baichuan {
namespace {

std::vector<std::int64_t> natural_order(std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

std::vector<std::size_t> step_sizes(const StepPlan& plan) {
  StepSequence sequence(plan, [&](std::int64_t) { return natural_order(plan.rows); });
  std::vector<std::size_t> sizes;
  for (std::int64_t i = 0; i < plan.max_steps; ++i) sizes.push_back(sequence.next().micro_batches.size());
  return sizes;
}

// The README's recipe: 99,811 rows, batch 4, accumulation 8, 2 epochs on one GPU.
TEST(StepPlan, CountsTheStepsOfTheReadmesRecipe) {
  EXPECT_EQ(plan_steps(99811, 4, 8, 2, -1, false).max_steps, 6240);
  EXPECT_EQ(plan_steps(99811, 4, 8, 2, -1, true).max_steps, 6238);
  EXPECT_EQ(plan_steps(99811, 4, 8, 2, 100, false).max_steps, 100);
}

TEST(StepPlan, NeedsRows) {
  EXPECT_THROW(plan_steps(0, 4, 8, 2, -1, false), DataError);
}

TEST(StepPlan, AnEpochsLastStepTakesTheShortRest) {
  EXPECT_EQ(step_sizes(plan_steps(21, 2, 5, 2, -1, false)), (std::vector<std::size_t>{5, 5, 1, 5, 5, 1}));
}

// As dataloader_drop_last of a DeepSpeed file does: 21 rows are 10 whole batches of 2.
TEST(StepPlan, RowsBeyondThePlansAreLeftOutOfEveryEpoch) {
  const auto plan = plan_steps(20, 2, 5, 2, -1, false);
  StepSequence sequence(plan, [](std::int64_t) { return natural_order(21); });
  EXPECT_EQ(plan.max_steps, 4);
  for (int step = 0; step < 4; ++step)
    for (const auto& micro : sequence.next().micro_batches) {
      EXPECT_EQ(micro.epoch, step / 2);
      EXPECT_EQ(micro.rows, (std::vector<std::int64_t>{2 * micro.index, 2 * micro.index + 1}));
    }
}

// Two recorded runs of the stack of 2023: 11 micro-batches an epoch, accumulation 5 and 16.
TEST(StepPlan, LeftOverMicroBatchesCarryOverAsIn2023) {
  EXPECT_EQ(step_sizes(plan_steps(21, 2, 5, 3, -1, true)), (std::vector<std::size_t>{5, 5, 5, 5, 5, 5}));
  EXPECT_EQ(step_sizes(plan_steps(21, 2, 16, 3, -1, true)), (std::vector<std::size_t>{11, 5, 6}));
}

TEST(StepPlan, TheEpochInLogsIsThatOfTheRecordedRun) {
  const auto plan = plan_steps(21, 2, 5, 3, -1, true);
  StepSequence sequence(plan, [&](std::int64_t) { return natural_order(21); });
  const double recorded[] = {0.45, 0.91, 1.36, 1.82, 2.27, 2.73};  // rounded to two places there
  for (const double epoch : recorded) {
    sequence.next();
    EXPECT_NEAR(sequence.position().epoch_done(plan), epoch, 0.005);
  }
}

TEST(StepPlan, ARestoredSequenceGoesOnAsIfItHadNeverStopped) {
  const auto plan = plan_steps(21, 2, 5, 3, -1, true);
  const auto order = [&](std::int64_t epoch) {
    auto rows = natural_order(21);
    std::rotate(rows.begin(), rows.begin() + epoch, rows.end());
    return rows;
  };
  StepSequence whole(plan, order);
  StepSequence resumed(plan, order);
  for (int i = 0; i < 3; ++i) whole.next();
  resumed.restore(whole.position());
  for (int i = 0; i < 3; ++i) {
    const auto a = whole.next();
    const auto b = resumed.next();
    ASSERT_EQ(a.micro_batches.size(), b.micro_batches.size());
    for (std::size_t k = 0; k < a.micro_batches.size(); ++k)
      EXPECT_EQ(a.micro_batches[k].rows, b.micro_batches[k].rows);
  }
}

TEST(StepPlan, AnEpochEndsWhenNoFullStepIsLeftInIt) {
  const auto plan = plan_steps(21, 2, 5, 3, -1, true);
  StepSequence sequence(plan, [&](std::int64_t) { return natural_order(21); });
  std::vector<bool> ends;
  for (int i = 0; i < 6; ++i) {
    sequence.next();
    ends.push_back(sequence.at_epoch_end());
  }
  EXPECT_EQ(ends, (std::vector<bool>{false, true, false, true, false, true}));
}

TEST(DataOrder, IsThatOfTorchInTheStackOf2023) {
  const std::string path = BAICHUAN_SHARED_DATA "/golden2023/misc.json";
  if (!std::ifstream(path)) GTEST_SKIP() << "needs ../shared/data";
  const Json cases = read_json_file(path)["single_process_order"];
  for (const auto& recorded : cases) {
    DataOrder order(DataOrderMode::kTorch2023, recorded["n"], recorded["manual_seed"]);
    std::int64_t epoch = 0;
    for (const auto& expected : recorded["epochs_without_evals"]) {
      auto rows = order.order(epoch++);
      const std::vector<std::int64_t> head = expected["perm_head"];
      rows.resize(head.size());
      EXPECT_EQ(rows, head);
    }
  }
}

TEST(DataOrder, ARestoredOrderRepeatsItsEpochAndGoesOn) {
  DataOrder order(DataOrderMode::kTorch2023, 50, 42);
  order.order(0);
  order.on_evaluation();
  const auto current = order.order(1);
  const auto state = order.state();
  const auto next = order.order(2);
  DataOrder restored(DataOrderMode::kTorch2023, 50, 7);
  restored.restore(state);
  EXPECT_EQ(restored.order(1), current);
  EXPECT_EQ(restored.order(2), next);
  EXPECT_THROW(restored.restore({1, 2, 3}), CheckpointError);
}

}  // namespace
}  // namespace baichuan
