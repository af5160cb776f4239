#include "lora/lora_linear.h"

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "kernels/counter_dropout.h"
#include "tests/kernels/compare.h"

namespace baichuan {
namespace {

constexpr std::int64_t kIn = 48;
constexpr std::int64_t kOut = 80;
constexpr std::int64_t kRank = 4;
constexpr double kScaling = 2.5;

struct Fixture {
  std::shared_ptr<DenseProjection> base;
  std::shared_ptr<LoraState> state = std::make_shared<LoraState>();
  std::shared_ptr<LoraLinear> lora;
  at::Tensor x, dy;

  explicit Fixture(at::ScalarType dtype, double dropout = 0) {
    torch::manual_seed(41);
    const at::NoGradGuard no_grad;
    base = std::make_shared<DenseProjection>(kIn, kOut, at::TensorOptions().dtype(dtype));
    base->weight.copy_(torch::randn({kOut, kIn}) * 0.2);
    lora = std::make_shared<LoraLinear>(base, kRank, kScaling, dropout, /*number=*/6, state);
    lora->lora_A.copy_(torch::randn({kRank, kIn}) * 0.2);
    lora->lora_B.copy_(torch::randn({kOut, kRank}) * 0.2);
    x = random_values({2, 7, kIn}, dtype);
    dy = random_values({2, 7, kOut}, dtype);
    state->key = {9, 3, torch::tensor({100, 200}, torch::kInt64)};
    state->training = dropout > 0;
  }
  DropoutMask mask(double p) const { return {p, 9, 3, state->key.sample_ids, 6}; }
};

struct Expected {
  at::Tensor y, dx, da, db;
};

// The formula in float64, differentiated by autograd.
Expected reference(const Fixture& f, double dropout) {
  const auto wide = [](const at::Tensor& t) { return t.detach().to(at::kDouble).requires_grad_(); };
  const auto x = wide(f.x), a = wide(f.lora->lora_A), b = wide(f.lora->lora_B);
  const auto dropped = dropout > 0 ? counter_dropout_reference(x, f.mask(dropout)) : x;
  const auto y = torch::matmul(x, f.base->weight.to(at::kDouble).t()) +
                 kScaling * torch::matmul(torch::matmul(dropped, a.t()), b.t());
  y.backward(f.dy.to(at::kDouble));
  return {y, x.grad(), a.grad(), b.grad()};
}

class LoraLinearTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  // The low-rank product, its sum with the base and the products of the backward pass are rounded once each.
  double tolerance() const { return 4 * unit_roundoff(GetParam()) + 2e-6; }
};

TEST_P(LoraLinearTest, ForwardAndBackwardMatchTheFormula) {
  for (const double dropout : {0.0, 0.3}) {
    Fixture f(GetParam(), dropout);
    const auto want = reference(f, dropout);
    const auto x = f.x.clone().requires_grad_();
    const auto y = f.lora->forward(x);
    y.backward(f.dy);
    EXPECT_LE(largest_error(y, want.y), tolerance());
    EXPECT_LE(largest_error(x.grad(), want.dx), tolerance());
    EXPECT_LE(largest_error(f.lora->lora_A.grad(), want.da), tolerance());
    EXPECT_LE(largest_error(f.lora->lora_B.grad(), want.db), tolerance());
    EXPECT_EQ(f.lora->lora_A.grad().scalar_type(), at::kFloat);
    EXPECT_FALSE(f.base->weight.grad().defined());
  }
}

TEST_P(LoraLinearTest, AnInputWithoutGradientStillTrainsTheAdapter) {
  Fixture f(GetParam(), 0.3);
  const auto want = reference(f, 0.3);
  f.lora->forward(f.x).backward(f.dy);
  EXPECT_LE(largest_error(f.lora->lora_A.grad(), want.da), tolerance());
  EXPECT_LE(largest_error(f.lora->lora_B.grad(), want.db), tolerance());
}

TEST_P(LoraLinearTest, AFrozenAdapterStillPassesTheGradientOn) {
  Fixture f(GetParam());
  const auto want = reference(f, 0);
  f.lora->lora_A.set_requires_grad(false);
  f.lora->lora_B.set_requires_grad(false);
  const auto x = f.x.clone().requires_grad_();
  f.lora->forward(x).backward(f.dy);
  EXPECT_LE(largest_error(x.grad(), want.dx), tolerance());
}

TEST_P(LoraLinearTest, WithoutGradientsTheBitsAreTheSame) {
  for (const double dropout : {0.0, 0.3}) {
    Fixture f(GetParam(), dropout);
    const auto tracked = f.lora->forward(f.x);
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(f.lora->forward(f.x).equal(tracked));
  }
}

// A projection that is no plain matrix, as a quantised one.
class TwiceProjection : public Projection {
 public:
  explicit TwiceProjection(std::shared_ptr<Projection> inner) : inner_(std::move(inner)) {}
  at::Tensor forward(const at::Tensor& x) override { return 2 * inner_->forward(x); }
  std::int64_t in_features() const override { return inner_->in_features(); }
  std::int64_t out_features() const override { return inner_->out_features(); }

 private:
  std::shared_ptr<Projection> inner_;
};

TEST_P(LoraLinearTest, AnyProjectionCanBeTheBase) {
  for (const double dropout : {0.0, 0.3}) {
    Fixture f(GetParam(), dropout);
    const auto twice = std::make_shared<TwiceProjection>(f.base);
    LoraLinear lora(twice, kRank, kScaling, dropout, 6, f.state);
    {
      const at::NoGradGuard no_grad;
      lora.lora_A.copy_(f.lora->lora_A);
      lora.lora_B.copy_(f.lora->lora_B);
    }
    auto x = f.x.clone().requires_grad_();
    lora.forward(x).backward(f.dy);
    const auto got = x.grad().clone();
    {
      const at::NoGradGuard no_grad;
      f.base->weight.mul_(2);
    }
    const auto want = reference(f, dropout);
    EXPECT_LE(largest_error(got, want.dx), tolerance());
    EXPECT_LE(largest_error(lora.lora_A.grad(), want.da), tolerance());
  }
}

TEST_P(LoraLinearTest, DisabledItIsTheBase) {
  Fixture f(GetParam(), 0.3);
  f.state->enabled = false;
  EXPECT_TRUE(f.lora->forward(f.x).equal(f.base->forward(f.x)));
}

INSTANTIATE_TEST_SUITE_P(EveryDtype, LoraLinearTest, testing::Values(at::kFloat, at::kBFloat16, at::kHalf), dtype_case);

TEST(LoraLinearMixed, ABFloat16BaseServesFloat32Activations) {
  Fixture f(at::kBFloat16);
  f.x = random_values({2, 7, kIn}, at::kFloat);
  f.dy = random_values({2, 7, kOut}, at::kFloat);
  const auto want = reference(f, 0);
  const auto x = f.x.clone().requires_grad_();
  const auto y = f.lora->forward(x);
  y.backward(f.dy);
  EXPECT_EQ(y.scalar_type(), at::kFloat);
  EXPECT_LE(largest_error(y, want.y), 2e-6);
  EXPECT_LE(largest_error(x.grad(), want.dx), 2e-6);
}

TEST(LoraLinearDropout, NeedsAKeyForEveryRow) {
  Fixture f(at::kFloat, 0.3);
  f.state->key.sample_ids = torch::tensor({1}, torch::kInt64);
  EXPECT_THROW(f.lora->forward(f.x), c10::ValueError);
}

}  // namespace
}  // namespace baichuan
