#include <cmath>

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "model/alibi.h"
#include "model/attention_kernels.h"
#include "model/causal_attention.h"
#include "tests/model/test_models.h"

namespace baichuan {
namespace {

constexpr int64_t kHeads = 5;
constexpr int64_t kHeadDim = 16;

Positions make_positions(PositionEmbedding kind, int64_t tokens, int64_t head_dim = kHeadDim, int64_t heads = kHeads) {
  Positions positions;
  positions.kind = kind;
  if (kind == PositionEmbedding::kAlibi) {
    positions.alibi_slopes = alibi_slope_tensor(heads, at::kCPU);
    positions.alibi_table = alibi_table(positions.alibi_slopes, tokens);
  } else {
    positions.rotary = rotary_table(tokens, head_dim, at::kCPU);
  }
  return positions;
}

// The formula, in the dtype of qkv (float64 in the tests), with the whole score matrix. -> [B, T, H * K]
at::Tensor textbook(const at::Tensor& qkv, const Positions& positions) {
  at::Tensor q = qkv.select(2, 0), k = qkv.select(2, 1);
  if (positions.kind == PositionEmbedding::kRope) {
    q = rotate_official(q, positions.rotary, 0);
    k = rotate_official(k, positions.rotary, 0);
  }
  const auto index = at::arange(qkv.size(1), qkv.options());
  const auto distance = index.unsqueeze(0) - index.unsqueeze(1);  // j - i
  auto scores =
      at::matmul(q.transpose(1, 2), k.transpose(1, 2).transpose(2, 3)) / std::sqrt(static_cast<double>(qkv.size(4)));
  if (positions.kind == PositionEmbedding::kAlibi)
    scores = scores + positions.alibi_slopes.to(qkv.scalar_type()).view({1, -1, 1, 1}) * distance;
  scores = scores.masked_fill(distance > 0, -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(scores, -1), qkv.select(2, 2).transpose(1, 2)).transpose(1, 2).flatten(2);
}

struct Attended {
  at::Tensor out, gradient;
};

Attended run(at::Tensor qkv, const Positions& positions, const at::Tensor& dout, bool by_textbook) {
  qkv = qkv.clone().requires_grad_(true);
  const auto out = by_textbook ? textbook(qkv, positions) : self_attention(qkv, positions);
  out.backward(dout.to(out.scalar_type()));
  return {out.detach(), qkv.grad()};
}

class SelfAttentionTest : public testing::TestWithParam<std::tuple<PositionEmbedding, int64_t>> {};

TEST_P(SelfAttentionTest, MatchesTheTextbookForwardAndBackward) {
  const auto [kind, tokens] = GetParam();
  torch::manual_seed(tokens);
  const auto qkv = torch::randn({2, tokens, 3, kHeads, kHeadDim}, at::kDouble);
  const auto dout = torch::randn({2, tokens, kHeads * kHeadDim}, at::kDouble);
  const auto positions = make_positions(kind, tokens);
  const auto want = run(qkv, positions, dout, true);
  const auto got = run(qkv.to(at::kFloat), positions, dout, false);
  EXPECT_LT(relative_difference(got.out, want.out), 2e-5);
  EXPECT_LT(relative_difference(got.gradient, want.gradient), 2e-5);
  const auto bf16 = run(qkv.to(at::kBFloat16), positions, dout, false);
  EXPECT_LT(relative_difference(bf16.out, want.out), 0.03);
  EXPECT_LT(relative_difference(bf16.gradient, want.gradient), 0.03);
}
// 1,030 and 2,100 tokens take two and three chunks of queries.
INSTANTIATE_TEST_SUITE_P(Lengths,
                         SelfAttentionTest,
                         testing::Combine(testing::Values(PositionEmbedding::kAlibi, PositionEmbedding::kRope),
                                          testing::Values(1, 2, 17, 256, 1030, 2100)));

TEST(SelfAttention, InFloat64GradientsAreTheTextbooksToRounding) {
  torch::manual_seed(1);
  for (const auto kind : {PositionEmbedding::kAlibi, PositionEmbedding::kRope}) {
    const auto qkv = torch::randn({1, 1100, 3, kHeads, kHeadDim}, at::kDouble);
    const auto dout = torch::randn({1, 1100, kHeads * kHeadDim}, at::kDouble);
    auto positions = make_positions(kind, 1100);
    if (kind == PositionEmbedding::kAlibi)  // a slope that float32 holds: what is left is the table's rounding
      positions.alibi_slopes = torch::tensor({0.5f, 0.25f, 0.125f, 0.0625f, 1.0f});
    positions.alibi_table =
        kind == PositionEmbedding::kAlibi ? alibi_table(positions.alibi_slopes, 1100) : at::Tensor();
    const auto want = run(qkv, positions, dout, true);
    const auto got = run(qkv, positions, dout, false);
    EXPECT_LT(relative_difference(got.out, want.out), 1e-6);
    EXPECT_LT(relative_difference(got.gradient, want.gradient), 1e-6);
  }
}

TEST(SelfAttention, ScoresKeepFloat32PrecisionAtFourThousandTokens) {
  torch::manual_seed(2);
  const int64_t tokens = 4096, dim = 64;
  const auto slopes = alibi_slope_tensor(40, at::kCPU);
  Positions positions;
  positions.alibi_slopes = at::stack({slopes[32], slopes[31], slopes[0]});  // the steepest two and the flattest
  positions.alibi_table = alibi_table(positions.alibi_slopes, tokens);
  const auto qkv = torch::randn({1, tokens, 3, 3, dim});
  const at::NoGradGuard no_grad;
  const auto want = textbook(qkv.to(at::kDouble), positions);
  EXPECT_LT(relative_difference(self_attention(qkv.clone(), positions), want), 3e-5);
}

TEST(SelfAttention, OfficialModeIsTheSameMathsInFloat32) {
  torch::manual_seed(5);
  for (const auto kind : {PositionEmbedding::kAlibi, PositionEmbedding::kRope}) {
    const auto qkv = torch::randn({2, 200, 3, kHeads, kHeadDim}, at::kDouble);
    const auto dout = torch::randn({2, 200, kHeads * kHeadDim}, at::kDouble);
    auto positions = make_positions(kind, 200);
    const auto want = run(qkv, positions, dout, true);
    positions.mode = AlibiMode::kOfficial;
    const auto got = run(qkv.to(at::kFloat), positions, dout, false);
    EXPECT_LT(relative_difference(got.out, want.out), 1e-4);
    EXPECT_LT(relative_difference(got.gradient, want.gradient), 1e-4);
  }
}

TEST(SelfAttention, PlainOperationsMatchTheFlashKernels) {
  torch::manual_seed(6);
  for (const auto kind : {PositionEmbedding::kAlibi, PositionEmbedding::kRope}) {
    const auto positions = make_positions(kind, 90);
    const auto heads = [] { return torch::randn({2, kHeads, 90, kHeadDim}); };
    const auto q = heads(), k = heads(), v = heads(), dout = torch::randn({2, 90, kHeads, kHeadDim});
    const auto flash = flash_forward_cpu(q, k, v, positions);
    const auto plain = plain_forward(q, k, v, positions);
    EXPECT_LT(relative_difference(plain.out, flash.out), 1e-5);
    std::array<at::Tensor, 3> a{at::empty_like(q), at::empty_like(q), at::empty_like(q)};
    std::array<at::Tensor, 3> b{at::empty_like(q), at::empty_like(q), at::empty_like(q)};
    flash_backward_cpu(dout, q, k, v, flash, positions, a[0], a[1], a[2]);
    plain_backward(dout, q, k, v, positions, b[0], b[1], b[2]);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_LT(relative_difference(b[i], a[i]), 1e-5);
  }
}

// What CUDA runs: ALiBi inside the product. The CPU's flash kernel takes the widened inputs without any bias.
class FoldedAttention : public testing::TestWithParam<std::tuple<at::ScalarType, double>> {};

TEST_P(FoldedAttention, MatchesTheExactBias) {
  const auto [type, tolerance] = GetParam();
  torch::manual_seed(7);
  const int64_t tokens = 1500, dim = 128;
  const auto positions = make_positions(PositionEmbedding::kAlibi, tokens, dim, kHeads);
  const auto heads = [&] { return torch::randn({1, kHeads, tokens, dim}).to(type); };
  const auto q = heads(), k = heads(), v = heads();
  const auto want = plain_forward(q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble), positions).out;
  const auto folded = fold_alibi(q, k, v, positions);
  ASSERT_EQ(folded.q.size(3), dim + kFoldColumns);
  const auto out = std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(
      folded.q, folded.k, folded.v, 0.0, /*is_causal=*/true, {}, 1 / std::sqrt(static_cast<double>(dim))));
  EXPECT_LT(relative_difference(out.narrow(3, 0, dim).transpose(1, 2), want), tolerance);
  EXPECT_EQ(out.narrow(3, dim, kFoldColumns).abs().max().item<double>(), 0);
  const auto exact = flash_forward_cpu(q, k, v, positions).out;
  EXPECT_LT(relative_difference(exact, want), tolerance);
}
// bfloat16 rounds q, k, v and the result to 8 bits; float32 sums of 4e4 resolve 4e-3 / sqrt(128).
INSTANTIATE_TEST_SUITE_P(Types,
                         FoldedAttention,
                         testing::Values(std::make_tuple(at::kBFloat16, 6e-3),
                                         std::make_tuple(at::kHalf, 1e-3),
                                         std::make_tuple(at::kFloat, 2e-4)));

TEST(CachedAttention, ChunksOfAnySizeSeeTheSameKeys) {
  torch::manual_seed(8);
  for (const auto kind : {PositionEmbedding::kAlibi, PositionEmbedding::kRope})
    for (const auto mode : {AlibiMode::kExact, AlibiMode::kOfficial}) {
      auto positions = make_positions(kind, 64);
      positions.mode = mode;
      const auto heads = [] { return torch::randn({2, kHeads, 50, kHeadDim}); };
      const auto q = heads(), k = heads(), v = heads();
      const auto whole = cached_attention(q, k, v, positions);
      int64_t past = 0;
      for (const int64_t count : {20, 1, 7, 22}) {
        positions.past = past;
        const auto part = cached_attention(q.narrow(2, past, count), k.narrow(2, 0, past + count),
                                           v.narrow(2, 0, past + count), positions);
        EXPECT_LT(largest_difference(part, whole.narrow(1, past, count)), 1e-5) << "after " << past;
        past += count;
      }
    }
}

}  // namespace
}  // namespace baichuan
