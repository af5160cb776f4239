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

// Loading converts on the way: what is stored is never in memory as well.
TEST(ReadMemory, IsTheDestinationAndLittleMore) {
  const ScratchDirectory scratch;
  const auto stored = static_cast<std::uint64_t>(save_sparse_base(scratch / "base", 1, 1024));
  const auto reader = CheckpointReader::open(scratch / "base");
  const LimitedMemory limit(2 * stored + 60 * kMegabyte);  // float32 takes twice what bfloat16 takes
  ASSERT_TRUE(limit.active());
  std::vector<ReadRequest> requests;
  for (const auto& spec : reader.tensors()) requests.push_back({spec.name, torch::empty(spec.shape, torch::kFloat32)});
  reader.read_all(requests);
  for (const auto& request : requests) EXPECT_EQ(request.destination[0].count_nonzero().item<std::int64_t>(), 0);
}

}  // namespace
}  // namespace baichuan
