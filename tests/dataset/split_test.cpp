#include "data/split.h"

#include "dataset_test_support.h"

namespace baichuan {
namespace {

using Order = std::vector<int64_t>;

TEST(NumpyPermutation, IsWhatNumpyDrawsForSeed42) {
  const Order expected = {15, 9, 14, 7, 12, 10, 6, 19, 3, 0, 16, 5, 11, 18, 2, 4, 17, 1, 13, 8};
  EXPECT_EQ(numpy_permutation(42, 20), expected);
  const Order many = numpy_permutation(42, 100820);
  EXPECT_EQ(Order(many.begin(), many.begin() + 10),
            (Order{39549, 520, 98829, 94680, 18600, 2931, 66873, 20829, 1701, 53074}));
  const Order chinese = numpy_permutation(42, 48818);
  EXPECT_EQ(Order(chinese.begin(), chinese.begin() + 5), (Order{22650, 3212, 26235, 2697, 43209}));
}

// From numpy 2.4: default_rng(seed).permutation(12); the second seed has two 32-bit words.
TEST(NumpyPermutation, HoldsForOtherSeeds) {
  EXPECT_EQ(numpy_permutation(0, 12), (Order{9, 2, 7, 4, 5, 11, 0, 3, 6, 10, 8, 1}));
  EXPECT_EQ(numpy_permutation(0x123456789abcdefULL, 12), (Order{8, 0, 10, 9, 6, 7, 5, 3, 11, 2, 1, 4}));
}

TEST(NumpyPermutation, AgreesWithTheRecordedOnes) {
  SKIP_WITHOUT_SHARED_DATA();
  const Json recorded = read_json_file(shared_data() / "golden2023/misc.json").at("split_default_rng42");
  for (const auto& [n, head] : recorded.items()) {
    const Order order = numpy_permutation(42, std::stoll(n));
    const Order expected = head.get<Order>();
    EXPECT_EQ(Order(order.begin(), order.begin() + std::ssize(expected)), expected) << "n = " << n;
  }
}

TEST(SplitRows, TakesTheFirstRowsOfThePermutationForEvaluation) {
  const Split split = split_rows(20, 4, 42);
  EXPECT_EQ(split.eval, (Order{15, 9, 14, 7}));
  EXPECT_EQ(split.train.front(), 12);
  EXPECT_EQ(split.train.size(), 16U);
}

TEST(SplitRows, RoundsAShareUpAndACountDown) {
  EXPECT_EQ(split_rows(100820, 0.01, 42).eval.size(), 1009U);
  EXPECT_EQ(split_rows(48818, 0.01, 42).eval.size(), 489U);
  EXPECT_EQ(split_rows(20, 2.9, 42).eval.size(), 2U);
  EXPECT_EQ(split_rows(20, 1, 42).eval.size(), 1U);
}

TEST(SplitRows, KeepsTheOrderWhenNothingIsSplitOff) {
  const Split split = split_rows(5, 0, 42);
  EXPECT_TRUE(split.eval.empty());
  EXPECT_EQ(split.train, (Order{0, 1, 2, 3, 4}));
}

TEST(SplitRows, RefusesToLeaveNothingToTrainOn) {
  const std::string message = message_of<DataError>([] { split_rows(3, 3, 42); });
  EXPECT_CONTAINS(message, "--val_size 3 takes 3 rows for evaluation; the data set has 3");
  EXPECT_CONTAINS(message_of<DataError>([] { split_rows(1, 0.5, 42); }), "the data set has 1");
}

}  // namespace
}  // namespace baichuan
