// Law: the memory of an export depends neither on the size of the model nor on that of its largest matrix.
#include "limited_memory.h"

namespace baichuan {
namespace {

constexpr std::uint64_t kMegabyte = 1'000'000;

TEST(ExportMemory, TheLimitHolds) {
  const LimitedMemory limit(100 * kMegabyte);
  ASSERT_TRUE(limit.active());
  EXPECT_ANY_THROW(torch::empty({200'000'000}, torch::kByte));
}

// 1.04 GB, the largest matrix 210 MB, which would be 420 MB in float32.
TEST(ExportMemory, StaysFarBelowTheSizeOfTheModel) {
  expect_export_within(1, 20480, 400 * kMegabyte);
}

}  // namespace
}  // namespace baichuan
