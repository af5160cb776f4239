#include "kernels/swiglu.h"

#include <gtest/gtest.h>

#include "compare.h"

namespace baichuan {
namespace {

class Swiglu : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { torch::manual_seed(19); }
  at::ScalarType dtype() const { return GetParam(); }
  double tolerance() const { return 2 * unit_roundoff(dtype()) + 1e-6; }
};

TEST_P(Swiglu, ForwardAndGradientsMatchTheFloat64Reference) {
  for (const std::int64_t width : {1, 17, 2752, 20000}) {
    const auto gate = random_values({3, width}, dtype(), 3.0).requires_grad_();
    const auto up = random_values({3, width}, dtype()).requires_grad_();
    const auto dy = random_values({3, width}, dtype());
    const auto y = swiglu(gate, up);
    y.backward(dy);

    const auto wide_gate = gate.detach().to(at::kDouble).requires_grad_();
    const auto wide_up = up.detach().to(at::kDouble).requires_grad_();
    const auto want = swiglu_reference(wide_gate, wide_up);
    want.backward(dy.to(at::kDouble));
    EXPECT_LE(largest_error(y, want), tolerance());
    EXPECT_LE(largest_error(gate.grad(), wide_gate.grad()), tolerance());
    EXPECT_LE(largest_error(up.grad(), wide_up.grad()), tolerance());
  }
}

TEST_P(Swiglu, ExtremeGatesStayFinite) {
  const auto gate = torch::tensor({-60000.0, -100.0, -88.0, 0.0, 88.0, 60000.0}).to(dtype()).requires_grad_();
  const auto up = torch::ones({6}, dtype()).requires_grad_();
  const auto y = swiglu(gate, up);
  y.sum().backward();
  EXPECT_TRUE(y.isfinite().all().item<bool>());
  EXPECT_TRUE(gate.grad().isfinite().all().item<bool>());
  EXPECT_NEAR(y[0].item<double>(), 0.0, 1e-30);
  EXPECT_EQ(y[5].item<double>(), gate[5].item<double>());
}

TEST_P(Swiglu, WithoutGradientsGivesTheSame) {
  const auto gate = random_values({7, 130}, dtype());
  const auto up = random_values({7, 130}, dtype());
  const auto tracked = swiglu(gate.detach().requires_grad_(), up);
  EXPECT_TRUE(swiglu(gate, up).equal(tracked));
}

INSTANTIATE_TEST_SUITE_P(EveryDtype, Swiglu, testing::Values(at::kFloat, at::kBFloat16, at::kHalf), dtype_case);

TEST(SwigluShapes, RefusesTwoShapes) {
  EXPECT_THROW(swiglu(torch::ones({2}), torch::ones({3})), c10::ValueError);
}

}  // namespace
}  // namespace baichuan
