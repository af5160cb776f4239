#include "distributed/shard_layout.h"

#include <gtest/gtest.h>

namespace baichuan {
namespace {

// Law: every element of every parameter is in exactly one rank's shard, in order, whatever the sizes.
TEST(ShardLayout, GivesEveryElementToOneRank) {
  const std::vector<std::vector<std::int64_t>> units = {{1}, {4096}, {4097, 1, 3}, {50'000, 7, 123'457, 2}, {0, 5}};
  for (const auto& counts : units) {
    for (const std::int64_t ranks : {1, 2, 3, 4, 8}) {
      const UnitLayout layout = lay_out_unit(counts, ranks);
      EXPECT_EQ(layout.padded % (ranks * kShardBlock), 0);
      EXPECT_GE(layout.padded, layout.elements);
      EXPECT_LT(layout.padded - layout.elements, ranks * kShardBlock + (layout.elements == 0 ? 1 : 0));
      std::vector<std::int64_t> next(counts.size(), 0);
      for (std::int64_t rank = 0; rank < ranks; ++rank) {
        for (const auto& slice : slices_of(layout, rank)) {
          EXPECT_EQ(slice.first, next[slice.parameter]);
          EXPECT_GT(slice.count, 0);
          // Where the slice lies in the unit, seen from the parameter and from the shard.
          EXPECT_EQ(layout.begin[slice.parameter] + slice.first, rank * layout.shard_elements() + slice.in_shard);
          next[slice.parameter] += slice.count;
        }
      }
      EXPECT_EQ(next, counts);
    }
  }
}

TEST(ShardLayout, KeepsBlocksWholeForAnyNumberOfRanks) {
  const std::vector<std::int64_t> counts{100'000, 33'333};
  for (const std::int64_t ranks : {1, 2, 3, 5, 8})
    EXPECT_EQ(lay_out_unit(counts, ranks).shard_elements() % kShardBlock, 0);
}

}  // namespace
}  // namespace baichuan
