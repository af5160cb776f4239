#include "distributed/process_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "tests/distributed/rank_threads.h"

namespace baichuan {
namespace {

// What rank r sends, in the type that travels.
at::Tensor parts_of(std::int64_t rank, std::int64_t elements, at::ScalarType type) {
  auto generator = at::detail::createCPUGenerator(static_cast<std::uint64_t>(100 + rank));
  return at::randn({elements}, generator, at::kFloat).to(type);
}

class ProcessGroupOf : public testing::TestWithParam<std::int64_t> {};

// Law: the sum is made in the order of the ranks, in float32, on top of what was there: bit for bit.
TEST_P(ProcessGroupOf, AddsInTheOrderOfTheRanks) {
  const std::int64_t ranks = GetParam();
  constexpr std::int64_t kSlice = 37;
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    run_ranks(ranks, [&](ProcessGroup& group) {
      const std::int64_t n = ranks * kSlice;
      at::Tensor expected = at::full({kSlice}, 0.25f);
      for (std::int64_t r = 0; r < ranks; ++r)
        expected.add_(parts_of(r, n, type).narrow(0, group.rank() * kSlice, kSlice).to(at::kFloat));
      const at::Tensor sum = at::full({kSlice}, 0.25f);
      const at::Tensor parts = parts_of(group.rank(), n, type);
      group.reduce_scatter_add(parts, at::empty_like(parts), sum, ranks)->wait();
      EXPECT_TRUE(torch::equal(sum, expected)) << "rank " << group.rank();
    });
  }
}

TEST_P(ProcessGroupOf, LeavesOutRanksThatContributeNothing) {
  const std::int64_t ranks = GetParam();
  run_ranks(ranks, [&](ProcessGroup& group) {
    const at::Tensor sum = at::zeros({8});
    // What the last rank sends would show: it is no number.
    const bool last = group.rank() == ranks - 1;
    const at::Tensor parts = at::full({ranks * 8}, last ? std::nanf("") : 1.0f);
    group.reduce_scatter_add(parts, at::empty_like(parts), sum, ranks - 1)->wait();
    EXPECT_TRUE(torch::equal(sum, at::full({8}, static_cast<float>(ranks - 1))));
  });
}

TEST_P(ProcessGroupOf, GathersSlicesNumbersAndTexts) {
  const std::int64_t ranks = GetParam();
  run_ranks(ranks, [&](ProcessGroup& group) {
    const at::Tensor flat = at::zeros({ranks * 5}, at::kBFloat16);
    flat.narrow(0, group.rank() * 5, 5).fill_(group.rank() + 1);
    group.all_gather(flat)->wait();
    EXPECT_TRUE(torch::equal(flat.view({ranks, 5}).select(1, 3).to(at::kLong), at::arange(1, ranks + 1)));

    const at::Tensor numbers =
        group.gather_numbers(at::full({2}, 0.5 + static_cast<double>(group.rank()), at::kDouble));
    EXPECT_EQ(numbers.sizes(), (at::IntArrayRef{ranks, 2}));
    EXPECT_EQ(numbers[ranks - 1][1].item<double>(), 0.5 + static_cast<double>(ranks - 1));

    const auto texts = group.gather_texts("rank " + std::to_string(group.rank()), "the test");
    ASSERT_EQ(std::ssize(texts), ranks);
    EXPECT_EQ(texts.back(), "rank " + std::to_string(ranks - 1));
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, ProcessGroupOf, testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace baichuan
