#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "train/batch.h"

namespace baichuan {
namespace {

std::vector<std::pair<std::string, at::Tensor>> sample_parameters(at::ScalarType type = at::kFloat) {
  torch::manual_seed(3);
  return {{"model.layers.0.mlp.up_proj.weight", torch::randn({7, 5}).to(type).requires_grad_(true)},
          {"model.norm.weight", torch::randn({5}).to(type).requires_grad_(true)}};
}

void set_gradients(Optimizer& optimizer, int step) {
  torch::manual_seed(100 + step);
  for (const auto& trained : optimizer.parameters()) {
    at::Tensor gradient = trained.gradient;
    gradient.copy_(torch::randn(gradient.sizes()));
  }
}

// Law: ten updates end where torch::optim::AdamW ends; the norm does not decay.
TEST(Optimizer, MatchesTorchAdamW) {
  auto ours = sample_parameters();
  auto theirs = sample_parameters();
  Optimizer optimizer(ours, {0.9, 0.999, 1e-8, 0.1, false, false});
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(std::vector<at::Tensor>{theirs[0].second},
                      std::make_unique<torch::optim::AdamWOptions>(torch::optim::AdamWOptions(1e-2).weight_decay(0.1)));
  groups.emplace_back(std::vector<at::Tensor>{theirs[1].second},
                      std::make_unique<torch::optim::AdamWOptions>(torch::optim::AdamWOptions(1e-2).weight_decay(0)));
  torch::optim::AdamW reference(groups, torch::optim::AdamWOptions(1e-2));
  for (int step = 0; step < 10; ++step) {
    optimizer.zero_gradients();
    set_gradients(optimizer, step);
    for (std::size_t i = 0; i < 2; ++i) theirs[i].second.mutable_grad() = optimizer.parameters()[i].gradient.clone();
    optimizer.step(1e-2);
    reference.step();
  }
  for (std::size_t i = 0; i < 2; ++i)
    EXPECT_TRUE(torch::allclose(ours[i].second, theirs[i].second, 1e-6, 1e-7)) << ours[i].first;
}

// transformers 4.31's variant, written out in float64.
TEST(Optimizer, TheHfVariantAddsEpsilonBeforeTheBiasCorrection) {
  auto parameters = sample_parameters();
  auto expected = parameters[0].second.detach().to(at::kDouble);
  auto m = torch::zeros_like(expected);
  auto v = torch::zeros_like(expected);
  Optimizer optimizer(parameters, {0.9, 0.999, 1e-6, 0.1, true, true});
  for (int step = 1; step <= 5; ++step) {
    optimizer.zero_gradients();
    set_gradients(optimizer, step);
    const auto g = optimizer.parameters()[0].gradient.to(at::kDouble);
    optimizer.step(1e-2);
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    const double rate = 1e-2 * std::sqrt(1 - std::pow(0.999, step)) / (1 - std::pow(0.9, step));
    expected = expected - rate * m / (v.sqrt() + 1e-6);
    expected = expected - 1e-2 * 0.1 * expected;
  }
  EXPECT_TRUE(torch::allclose(parameters[0].second.to(at::kDouble), expected, 1e-5, 1e-6));
}

TEST(Optimizer, KeepsFloat32MastersOf16BitParametersAndGradientsInFloat32) {
  auto parameters = sample_parameters(at::kBFloat16);
  Optimizer optimizer(parameters, {});
  const auto& trained = optimizer.parameters()[0];
  (parameters[0].second.to(at::kFloat) * 1e-3).sum().backward();
  (parameters[0].second.to(at::kFloat) * 1e-3).sum().backward();
  EXPECT_EQ(trained.gradient.scalar_type(), at::kFloat);
  EXPECT_NEAR(trained.gradient[0][0].item<float>(), 2e-3, 1e-5);
  const auto before = trained.master.clone();
  optimizer.step(1e-5);
  EXPECT_FALSE(torch::equal(before, trained.master)) << "an update below bf16's resolution still counts";
  EXPECT_TRUE(torch::equal(parameters[0].second.detach(), trained.master.to(at::kBFloat16)));
}

TEST(Optimizer, TheNormIsThatOfAllGradientsTogether) {
  Optimizer optimizer(sample_parameters(), {});
  set_gradients(optimizer, 1);
  double sum = 0;
  for (const auto& trained : optimizer.parameters())
    sum += trained.gradient.to(at::kDouble).square().sum().item<double>();
  const auto norm = [&] { return optimizer.global_norm(optimizer.squared_norms(/*by_block=*/false).unsqueeze(0)); };
  EXPECT_NEAR(norm(), std::sqrt(sum), 1e-9);
  optimizer.scale_gradients(0.5);
  EXPECT_NEAR(norm(), std::sqrt(sum) / 2, 1e-6);
}

TEST(Optimizer, NamesTheFirstGradientThatIsNotFinite) {
  Optimizer optimizer(sample_parameters(), {});
  EXPECT_EQ(optimizer.first_non_finite_gradient(), "");
  at::Tensor gradient = optimizer.parameters()[1].gradient;
  gradient[2] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(optimizer.first_non_finite_gradient(), "model.norm.weight");
}

TEST(Batch, PadsOnTheRightAndShiftsLabelsToThePositionThatPredictsThem) {
  const std::vector<std::int32_t> ids_a{5, 6, 7};
  const std::vector<std::int32_t> labels_a{-100, 6, 7};
  const std::vector<std::int32_t> ids_b{8};
  const std::vector<std::int32_t> labels_b{8};  // the first token has nothing before it
  const BatchRow rows[] = {{ids_a, labels_a, 40}, {ids_b, labels_b, 41}};
  const Batch batch = make_batch(rows, 0, at::kCPU);
  EXPECT_TRUE(torch::equal(batch.ids, torch::tensor({{5, 6, 7}, {8, 0, 0}}, torch::kLong)));
  EXPECT_TRUE(torch::equal(batch.targets, torch::tensor({{6, 7, -100}, {-100, -100, -100}}, torch::kLong)));
  EXPECT_TRUE(torch::equal(batch.sample_ids, torch::tensor({40, 41}, torch::kLong)));
  EXPECT_EQ(batch.target_tokens, 2);
  EXPECT_EQ(batch.tokens, 4);
}

}  // namespace
}  // namespace baichuan
