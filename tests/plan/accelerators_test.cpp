#include "train/accelerators.h"

#include <gtest/gtest.h>

namespace baichuan {
namespace {

TEST(Accelerators, EightyGigabytesAreLeftToTensorsOnAnA100) {
  const std::int64_t budget = allocation_budget(*find_gpu("a100-80gb"), 8);
  EXPECT_NEAR(static_cast<double>(budget) / 1e9, 80, 0.5);
}

TEST(Accelerators, BudgetRuntimeAndFragmentsFillTheDevice) {
  for (const char* const name : {"a100-40gb", "a100-80gb", "h100", "h200"}) {
    const Accelerator& gpu = *find_gpu(name);
    const std::int64_t budget = allocation_budget(gpu, 2);
    EXPECT_NEAR(static_cast<double>(budget + runtime_bytes(gpu, 2) + fragmentation_bytes(gpu, budget)),
                static_cast<double>(gpu.memory_bytes), 2);
    EXPECT_GT(allocation_budget(gpu, 1), budget) << "one rank needs no communicator";
  }
}

TEST(Accelerators, UnknownNamesAreNone) {
  EXPECT_EQ(find_gpu("cpu"), nullptr);
  EXPECT_EQ(find_gpu("v100"), nullptr);
}

TEST(Accelerators, ProcessesShareTheMachine) {
  const Accelerator whole = this_machine(1, false);
  const Accelerator half = this_machine(2, false);
  EXPECT_GT(whole.memory_bytes, 0);
  EXPECT_EQ(half.memory_bytes, whole.memory_bytes / 2);
  EXPECT_DOUBLE_EQ(half.half_flops, whole.half_flops / 2);
  EXPECT_LT(this_machine(1, /*float16=*/true).half_flops, whole.half_flops);
}

}  // namespace
}  // namespace baichuan
