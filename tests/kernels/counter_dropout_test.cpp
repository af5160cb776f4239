#include "kernels/counter_dropout.h"

#include <vector>

#include <gtest/gtest.h>

#include "compare.h"

namespace baichuan {
namespace {

DropoutMask mask_for(const std::vector<std::int64_t>& samples, double p = 0.3) {
  return {p, 42, 7, torch::tensor(samples, torch::kInt64), 3};
}

class CounterDropout : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { torch::manual_seed(23); }
  at::ScalarType dtype() const { return GetParam(); }
};

TEST_P(CounterDropout, EqualsTheReferenceBitForBit) {
  for (const std::int64_t channels : {1, 16, 100, 320}) {
    const auto x = random_values({3, 5, channels}, dtype());
    const auto mask = mask_for({5, 1'000'000'000'000, 0});
    EXPECT_TRUE(counter_dropout(x, mask).equal(counter_dropout_reference(x, mask))) << channels << " channels";
  }
}

TEST_P(CounterDropout, GradientIsTheSameMaskAndScale) {
  const auto x = random_values({2, 9, 70}, dtype()).requires_grad_();
  const auto dy = random_values({2, 9, 70}, dtype());
  const auto mask = mask_for({4, 9});
  counter_dropout(x, mask).backward(dy);
  EXPECT_TRUE(x.grad().equal(counter_dropout_reference(dy, mask)));
}

TEST_P(CounterDropout, AddsInPlaceWhatItWouldReturn) {
  const auto x = random_values({2, 9, 70}, dtype());
  const auto mask = mask_for({4, 9});
  const auto to = torch::zeros_like(x);
  add_counter_dropout_(to, x, mask);
  EXPECT_TRUE(to.equal(counter_dropout(x, mask)));
}

TEST_P(CounterDropout, ASampleSeesTheSameMaskInEveryBatchAndLength) {
  const auto x = random_values({1, 12, 64}, dtype());
  const auto alone = counter_dropout(x, mask_for({77}));
  const auto padded = torch::zeros({3, 20, 64}, dtype());
  padded[1].narrow(0, 0, 12).copy_(x[0]);
  const auto together = counter_dropout(padded, mask_for({1, 77, 2}));
  EXPECT_TRUE(together[1].narrow(0, 0, 12).equal(alone[0]));
}

TEST_P(CounterDropout, ThreadsDoNotChangeTheMask) {
  const auto x = random_values({4, 33, 128}, dtype());
  const auto mask = mask_for({1, 2, 3, 4});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = counter_dropout(x, mask);
  at::set_num_threads(3);
  const auto three = counter_dropout(x, mask);
  at::set_num_threads(threads);
  EXPECT_TRUE(one.equal(three));
}

INSTANTIATE_TEST_SUITE_P(EveryDtype, CounterDropout, testing::Values(at::kFloat, at::kBFloat16, at::kHalf), dtype_case);

at::Tensor dropped(const DropoutMask& mask, at::IntArrayRef sizes) {
  return counter_dropout(torch::ones(sizes), mask).eq(0).to(at::kDouble);
}

TEST(CounterDropoutMask, DropsTheShareAskedFor) {
  const auto is_dropped = dropped(mask_for({0, 1, 2, 3}, 0.1), {4, 250, 1000});
  // A million draws: three standard deviations are 0.0009.
  EXPECT_NEAR(is_dropped.mean().item<double>(), 0.1, 0.0009);
  EXPECT_NEAR(counter_dropout(torch::ones({1, 1000, 1000}), mask_for({5}, 0.1)).mean().item<double>(), 1.0, 0.001);
}

TEST(CounterDropoutMask, EveryCoordinateChangesTheMask) {
  const DropoutMask base = mask_for({10}, 0.5);
  const std::vector<std::int64_t> sizes{1, 40, 256};
  const auto first = dropped(base, sizes);
  const auto agreement = [&](const DropoutMask& other) {
    return first.eq(dropped(other, sizes)).to(at::kDouble).mean().item<double>();
  };
  DropoutMask seed = base;
  seed.seed += 1;
  DropoutMask step = base;
  step.step += 1;
  DropoutMask stream = base;
  stream.stream += 1;
  // Independent halves agree on half of 10,240 elements; four standard deviations are 0.02.
  for (const auto& other : {seed, step, stream, mask_for({11}, 0.5), mask_for({10 + (std::int64_t{1} << 32)}, 0.5)})
    EXPECT_NEAR(agreement(other), 0.5, 0.02);
  EXPECT_NEAR(first.select(1, 0).eq(first.select(1, 1)).to(at::kDouble).mean().item<double>(), 0.5, 0.13);
  EXPECT_NEAR(first.narrow(2, 0, 128).eq(first.narrow(2, 128, 128)).to(at::kDouble).mean().item<double>(), 0.5, 0.03);
}

TEST(CounterDropoutMask, ZeroProbabilityReturnsItsInput) {
  const auto x = torch::randn({1, 2, 3});
  EXPECT_TRUE(counter_dropout(x, mask_for({0}, 0.0)).is_same(x));
}

TEST(CounterDropoutMask, RefusesWhatItCannotCount) {
  const auto x = torch::ones({2, 3, 4});
  EXPECT_THROW(counter_dropout(x, mask_for({1})), c10::ValueError);
  EXPECT_THROW(counter_dropout(x, mask_for({1, 2}, 1.0)), c10::ValueError);
  EXPECT_THROW(counter_dropout(x[0], mask_for({1, 2})), c10::ValueError);
  EXPECT_THROW(counter_dropout(x, DropoutMask{0.5, 0, 0, {}, 0}), c10::ValueError);
}

}  // namespace
}  // namespace baichuan
