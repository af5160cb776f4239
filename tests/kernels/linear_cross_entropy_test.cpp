#include "kernels/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include "compare.h"

namespace baichuan {
namespace {

struct Problem {
  at::Tensor hidden, weight, labels;
};

Problem make_problem(std::int64_t rows, std::int64_t vocabulary, at::ScalarType dtype, bool with_ignored) {
  torch::manual_seed(29);
  Problem problem{random_values({rows, 24}, dtype), random_values({vocabulary, 24}, dtype, 0.5),
                  torch::randint(0, vocabulary, {rows}, torch::kInt64)};
  if (with_ignored) problem.labels.masked_fill_(torch::rand({rows}) < 0.6, kIgnoreLabel);
  return problem;
}

class LinearCrossEntropy : public testing::TestWithParam<at::ScalarType> {
 protected:
  at::ScalarType dtype() const { return GetParam(); }
  // Logits, their gradient and the products are rounded once each.
  double tolerance() const { return 4 * unit_roundoff(dtype()) + 1e-6; }
};

TEST_P(LinearCrossEntropy, LossAndGradientsMatchTheFloat64Reference) {
  for (const bool with_ignored : {false, true}) {
    const Problem problem = make_problem(50, 333, dtype(), with_ignored);
    const auto hidden = problem.hidden.clone().requires_grad_();
    const auto weight = problem.weight.clone().requires_grad_();
    const auto loss = linear_cross_entropy(hidden, weight, problem.labels, 0.125);
    loss.backward();

    const auto wide_hidden = problem.hidden.to(at::kDouble).requires_grad_();
    const auto wide_weight = problem.weight.to(at::kDouble).requires_grad_();
    const auto want = linear_cross_entropy_reference(wide_hidden, wide_weight, problem.labels);
    (want * 0.125).backward();
    EXPECT_NEAR(loss.item<double>() / want.item<double>(), 1.0, tolerance());
    EXPECT_LE(largest_error(hidden.grad(), wide_hidden.grad()), tolerance());
    EXPECT_LE(largest_error(weight.grad(), wide_weight.grad()), tolerance());
    EXPECT_EQ(loss.scalar_type(), at::kDouble);
  }
}

// A chunk holds 512 rows of 65,536 logits: 700 rows take two.
TEST_P(LinearCrossEntropy, ChunksAddUpToTheWhole) {
  torch::manual_seed(31);
  const auto hidden = random_values({700, 8}, dtype()).requires_grad_();
  const auto weight = random_values({65536, 8}, dtype(), 0.5).requires_grad_();
  const auto labels = torch::randint(0, 65536, {700}, torch::kInt64);
  const auto loss = linear_cross_entropy(hidden, weight, labels);
  loss.backward();
  const auto halves_hidden = hidden.detach().clone().requires_grad_();
  const auto halves_weight = weight.detach().clone().requires_grad_();
  const auto first = linear_cross_entropy(halves_hidden.narrow(0, 0, 300), halves_weight, labels.narrow(0, 0, 300));
  const auto second =
      linear_cross_entropy(halves_hidden.narrow(0, 300, 400), halves_weight, labels.narrow(0, 300, 400));
  (first + second).backward();
  EXPECT_NEAR(loss.item<double>() / (first + second).item<double>(), 1.0, 1e-6);
  EXPECT_LE(largest_error(hidden.grad(), halves_hidden.grad()), tolerance());
  EXPECT_LE(largest_error(weight.grad(), halves_weight.grad()), tolerance());
}

TEST_P(LinearCrossEntropy, RowsWithoutALabelGetZeroLossAndZeroGradient) {
  const Problem problem = make_problem(40, 100, dtype(), /*with_ignored=*/true);
  const auto ignored = problem.labels == kIgnoreLabel;
  const auto hidden = problem.hidden.clone().requires_grad_();
  linear_cross_entropy(hidden, problem.weight, problem.labels).backward();
  EXPECT_EQ(hidden.grad().index({ignored}).abs().sum().item<double>(), 0.0);
  const auto losses = linear_cross_entropy_rows(problem.hidden, problem.weight, problem.labels);
  EXPECT_EQ(losses.index({ignored}).abs().sum().item<double>(), 0.0);
  EXPECT_GT(losses.index({~ignored}).min().item<double>(), 0.0);
}

TEST_P(LinearCrossEntropy, PerRowLossesAreThoseOfTheLogits) {
  const Problem problem = make_problem(30, 200, dtype(), false);
  const auto log_probabilities =
      torch::log_softmax(torch::matmul(problem.hidden, problem.weight.t()).to(at::kDouble), -1);
  const auto want = -log_probabilities.gather(1, problem.labels.unsqueeze(1)).view({5, 6});
  const auto got =
      linear_cross_entropy_rows(problem.hidden.view({5, 6, 24}), problem.weight, problem.labels.view({5, 6}));
  EXPECT_EQ(got.sizes(), (at::IntArrayRef{5, 6}));
  EXPECT_LE(largest_error(got, want), 1e-6);
}

TEST_P(LinearCrossEntropy, IncomingGradientMultiplies) {
  const Problem problem = make_problem(20, 50, dtype(), true);
  const auto once = problem.hidden.clone().requires_grad_();
  const auto twice = problem.hidden.clone().requires_grad_();
  linear_cross_entropy(once, problem.weight, problem.labels).backward();
  (2 * linear_cross_entropy(twice, problem.weight, problem.labels)).backward();
  EXPECT_TRUE((once.grad() * 2).equal(twice.grad()));
}

TEST_P(LinearCrossEntropy, NoLabelAtAllGivesZero) {
  const auto hidden = random_values({6, 8}, dtype()).requires_grad_();
  const auto weight = random_values({10, 8}, dtype()).requires_grad_();
  const auto loss = linear_cross_entropy(hidden, weight, torch::full({6}, kIgnoreLabel, torch::kInt64));
  loss.backward();
  EXPECT_EQ(loss.item<double>(), 0.0);
  EXPECT_EQ(hidden.grad().abs().sum().item<double>(), 0.0);
  EXPECT_EQ(weight.grad().abs().sum().item<double>(), 0.0);
}

INSTANTIATE_TEST_SUITE_P(EveryDtype,
                         LinearCrossEntropy,
                         testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                         dtype_case);

TEST(LinearCrossEntropyScale, KeepsSmallFloat16GradientsThatUnscaledWouldUnderflow) {
  torch::manual_seed(37);
  const auto values = random_values({16, 32}, at::kHalf);
  const auto weight = random_values({5000, 32}, at::kHalf, 0.1);
  const auto labels = torch::randint(0, 5000, {16}, torch::kInt64);
  const auto gradient = [&](at::ScalarType dtype, double scale) {
    const auto hidden = values.to(dtype).requires_grad_();
    linear_cross_entropy(hidden, weight.to(dtype), labels, scale).backward();
    return hidden.grad().to(at::kDouble) / scale;
  };
  const double tokens = 1e5;
  const auto want = gradient(at::kDouble, 1 / tokens);
  EXPECT_LE(largest_error(gradient(at::kHalf, 65536 / tokens), want), 4.0 / 2048);
  EXPECT_GT(largest_error(gradient(at::kHalf, 1 / tokens), want), 0.005);
}

TEST(LinearCrossEntropyMixed, AFloat32WeightServesBFloat16StatesAndKeepsAFloat32Gradient) {
  const Problem problem = make_problem(40, 100, at::kBFloat16, true);
  const auto same = problem.weight.clone().requires_grad_();
  const auto wider = problem.weight.to(at::kFloat).requires_grad_();
  const auto loss = linear_cross_entropy(problem.hidden, same, problem.labels);
  const auto mixed = linear_cross_entropy(problem.hidden, wider, problem.labels);
  EXPECT_EQ(loss.item<double>(), mixed.item<double>());
  loss.backward();
  mixed.backward();
  EXPECT_EQ(wider.grad().scalar_type(), at::kFloat);
  EXPECT_TRUE(wider.grad().to(at::kBFloat16).equal(same.grad()));
}

TEST(LinearCrossEntropyChecks, NamesWhatDoesNotFit) {
  const auto hidden = torch::ones({3, 4});
  const auto weight = torch::ones({5, 4});
  const auto labels = torch::zeros({3}, torch::kInt64);
  EXPECT_THROW(linear_cross_entropy(hidden, torch::ones({5, 3}), labels), c10::ValueError);
  EXPECT_THROW(linear_cross_entropy(hidden, weight, labels.to(at::kInt)), c10::ValueError);
  EXPECT_THROW(linear_cross_entropy(hidden, weight, labels + 5), c10::ValueError);
  EXPECT_THROW(linear_cross_entropy(hidden, weight, labels - 1), c10::ValueError);
  EXPECT_THROW(linear_cross_entropy(hidden, weight, labels.narrow(0, 0, 2)), c10::ValueError);
}

}  // namespace
}  // namespace baichuan
