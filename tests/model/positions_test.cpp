#include <cmath>

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "model/alibi.h"
#include "model/rotary.h"
#include "tests/model/test_models.h"

namespace baichuan {
namespace {

TEST(AlibiSlopes, OfFortyHeadsAreThePublishedOnes) {
  const auto slopes = alibi_slopes(40);
  ASSERT_EQ(slopes.size(), 40u);
  EXPECT_NEAR(slopes[0], 0.8408964152537145, 1e-15);
  EXPECT_NEAR(slopes[1], 0.7071067811865475, 1e-15);
  EXPECT_NEAR(slopes[31], 0.00390625, 1e-16);
  const double last[] = {0.9170040432046712,  0.7711054127039704,  0.6484197773255047,  0.5452538663326288,
                         0.45850202160233555, 0.38555270635198513, 0.32420988866275235, 0.27262693316631437};
  for (std::size_t i = 0; i < 8; ++i) EXPECT_NEAR(slopes[32 + i], last[i], 1e-15);
}

TEST(AlibiSlopes, OfPowersOfTwoAreAGeometricSequence) {
  for (const int64_t heads : {1, 2, 8, 32}) {
    const auto slopes = alibi_slopes(heads);
    for (int64_t i = 0; i < heads; ++i)
      EXPECT_NEAR(slopes[static_cast<std::size_t>(i)],
                  std::exp2(-8.0 * static_cast<double>(i + 1) / static_cast<double>(heads)), 1e-15);
  }
  EXPECT_THROW(alibi_slopes(0), c10::Error);
}

TEST(AlibiTable, RowsAreSlopeTimesDistanceWhateverTheReference) {
  const auto slopes = alibi_slope_tensor(5, at::kCPU);
  const auto table = alibi_table(slopes, 64);
  for (const int64_t reference : {0, 20, 63}) {
    const auto row = alibi_row(table, 3, 40, reference);
    ASSERT_EQ(row.sizes(), at::IntArrayRef({1, 5, 1, 40}));
    const auto want =
        slopes.to(at::kDouble).unsqueeze(1) * (at::arange(3, 43, at::kDouble) - static_cast<double>(reference));
    EXPECT_LT(largest_difference(row.view({5, 40}), want), 4e-6);
  }
}

// The columns carry slope * sqrt(K) * (j - reference) through a product of bfloat16 numbers summed in float32.
class AlibiFold : public testing::TestWithParam<at::ScalarType> {};

TEST_P(AlibiFold, ProductIsTheBiasToFloat32Precision) {
  const auto slopes = alibi_slope_tensor(40, at::kCPU);
  const int64_t keys = 4096;
  const int64_t head_dim = 128;
  const auto query = fold_query_columns(slopes, head_dim, GetParam());
  const auto key = fold_key_columns(0, keys, keys / 2, at::TensorOptions().dtype(GetParam()));
  const auto product = at::matmul(query.to(at::kDouble), key.to(at::kDouble).t()) / std::sqrt(128.0);
  const auto j = at::arange(keys, at::kDouble) - static_cast<double>(keys / 2);
  const auto want = slopes.to(at::kDouble).unsqueeze(1) * j;
  // Two parts of a bfloat16 slope have 16 significant bits: a score at the far end is off by less than 0.03, where the
  // weight of a steep head is e^-1000; what counts is the error a nat of bias.
  EXPECT_LT(((product - want).abs() / want.abs().clamp_min(1)).max().item<double>(), 1.6e-5);
}
INSTANTIATE_TEST_SUITE_P(Types, AlibiFold, testing::Values(at::kBFloat16, at::kHalf, at::kFloat));

TEST(Rotary, TurnsPairsOfHalvesByPositionTimesFrequency) {
  const int64_t dim = 8;
  const auto table = rotary_table(32, dim, at::kCPU);
  torch::manual_seed(3);
  const auto before = torch::randn({2, 5, 3, 3, dim});
  auto after = before.clone();
  const int64_t past = 7;
  rotate_(after, table, past, /*backward=*/false);
  for (int64_t t = 0; t < 5; ++t)
    for (int64_t c = 0; c < dim / 2; ++c) {
      const double angle = static_cast<double>(past + t) * std::pow(10000.0, -2.0 * static_cast<double>(c) / dim);
      for (const int64_t third : {0, 1}) {
        const auto low = before.select(1, t).select(1, third).select(2, c).to(at::kDouble);
        const auto high = before.select(1, t).select(1, third).select(2, c + dim / 2).to(at::kDouble);
        EXPECT_LT(largest_difference(after.select(1, t).select(1, third).select(2, c),
                                     low * std::cos(angle) - high * std::sin(angle)),
                  1e-5);
        EXPECT_LT(largest_difference(after.select(1, t).select(1, third).select(2, c + dim / 2),
                                     high * std::cos(angle) + low * std::sin(angle)),
                  1e-5);
      }
    }
  EXPECT_TRUE(at::equal(after.select(2, 2), before.select(2, 2))) << "v is left alone";
  rotate_(after, table, past, /*backward=*/true);
  EXPECT_LT(largest_difference(after, before), 1e-5) << "turning back";
}

TEST(Rotary, EveryTypeRoundsTheFloat32ResultOnce) {
  const auto table = rotary_table(16, 32, at::kCPU);
  torch::manual_seed(4);
  for (const auto type : {at::kBFloat16, at::kHalf, at::kDouble}) {
    const auto x = torch::randn({2, 9, 3, 5, 32}).to(type);
    auto got = x.clone();
    rotate_(got, table, 2, false);
    auto want = x.to(at::kFloat);
    rotate_(want, table, 2, false);
    if (type == at::kDouble)
      EXPECT_LT(largest_difference(got, want), 1e-6);
    else
      EXPECT_TRUE(at::equal(got, want.to(type)));
  }
}

TEST(Rotary, APositionBeyondTheTableIsRefused) {
  auto qkv = at::zeros({1, 4, 3, 1, 8});
  EXPECT_THROW(rotate_(qkv, rotary_table(16, 8, at::kCPU), 13, false), c10::Error);
}

}  // namespace
}  // namespace baichuan
