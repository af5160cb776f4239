#include "kernels/rms_norm.h"

#include <gtest/gtest.h>

#include "compare.h"

namespace baichuan {
namespace {

constexpr double kEps = 1e-6;

class RmsNorm : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { torch::manual_seed(17); }
  at::ScalarType dtype() const { return GetParam(); }
  double tolerance() const { return 2 * unit_roundoff(dtype()) + 1e-6; }
};

TEST_P(RmsNorm, ForwardMatchesTheFloat64Reference) {
  for (const std::int64_t dim : {1, 31, 256, 257, 5120}) {
    const auto x = random_values({3, 11, dim}, dtype());
    const auto weight = random_values({dim}, dtype());
    const auto want = rms_norm_reference(x.to(at::kDouble), weight.to(at::kDouble), kEps);
    EXPECT_LE(largest_error(rms_norm(x, weight, kEps), want), tolerance()) << "width " << dim;
  }
}

TEST_P(RmsNorm, RoundsWhereTheCheckpointsCodeRounds) {
  const auto x = random_values({64, 320}, dtype());
  const auto weight = random_values({320}, dtype());
  const auto got = rms_norm(x, weight, kEps);
  const auto want = rms_norm_reference(x, weight, kEps);
  // The float32 sums differ in their last bits, which moves a rounding now and then.
  const double share = got.ne(want).to(at::kDouble).mean().item<double>();
  EXPECT_LE(share, dtype() == at::kFloat ? 1.0 : 0.01);
}

TEST_P(RmsNorm, GradientsMatchAutogradOfTheFloat64Reference) {
  for (const std::int64_t rows : {1, 5, 700}) {
    const auto x = random_values({rows, 96}, dtype()).requires_grad_();
    const auto weight = random_values({96}, dtype()).requires_grad_();
    const auto dy = random_values({rows, 96}, dtype());
    rms_norm(x, weight, kEps).backward(dy);

    const auto wide_x = x.detach().to(at::kDouble).requires_grad_();
    const auto wide_weight = weight.detach().to(at::kDouble).requires_grad_();
    rms_norm_reference(wide_x, wide_weight, kEps).backward(dy.to(at::kDouble));
    EXPECT_LE(largest_error(x.grad(), wide_x.grad()), tolerance()) << rows << " rows";
    EXPECT_LE(largest_error(weight.grad(), wide_weight.grad()), tolerance()) << rows << " rows";
    EXPECT_EQ(x.grad().scalar_type(), dtype());
  }
}

TEST_P(RmsNorm, FrozenWeightGetsNoGradientAndFrozenInputNone) {
  auto x = random_values({4, 32}, dtype()).requires_grad_();
  auto weight = random_values({32}, dtype());
  rms_norm(x, weight, kEps).sum().backward();
  EXPECT_TRUE(x.grad().defined());
  EXPECT_FALSE(weight.grad().defined());
  x = x.detach();
  weight.requires_grad_();
  rms_norm(x, weight, kEps).sum().backward();
  EXPECT_TRUE(weight.grad().defined());
}

TEST_P(RmsNorm, GradientsDoNotDependOnTheNumberOfThreads) {
  const auto x = random_values({513, 128}, dtype());
  const auto dy = random_values({513, 128}, dtype());
  const int threads = at::get_num_threads();
  std::vector<at::Tensor> of_weight;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    const auto weight = torch::ones({128}, dtype()).requires_grad_();
    rms_norm(x, weight, kEps).backward(dy);
    of_weight.push_back(weight.grad());
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(of_weight[0].equal(of_weight[1]));
  EXPECT_TRUE(of_weight[0].equal(of_weight[2]));
}

TEST_P(RmsNorm, AcceptsStridedAndEmptyInput) {
  const auto x = random_values({6, 40}, dtype()).t();
  const auto weight = random_values({6}, dtype());
  EXPECT_TRUE(rms_norm(x, weight, kEps).equal(rms_norm(x.contiguous(), weight, kEps)));
  EXPECT_EQ(rms_norm(torch::empty({0, 6}, dtype()), weight, kEps).sizes(), (at::IntArrayRef{0, 6}));
}

INSTANTIATE_TEST_SUITE_P(EveryDtype, RmsNorm, testing::Values(at::kFloat, at::kBFloat16, at::kHalf), dtype_case);

TEST(RmsNormMixed, Float32WeightKeepsFloat32) {
  const auto x = random_values({5, 16}, at::kBFloat16);
  const auto weight = random_values({16}, at::kFloat);
  EXPECT_EQ(rms_norm(x, weight, kEps).scalar_type(), at::kFloat);
}

TEST(RmsNormMixed, RefusesAWeightOfAnotherWidth) {
  EXPECT_THROW(rms_norm(torch::ones({2, 8}), torch::ones({7}), kEps), c10::ValueError);
}

}  // namespace
}  // namespace baichuan
