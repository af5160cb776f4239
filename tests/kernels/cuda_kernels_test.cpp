// The CUDA kernels against the CPU's and against float64.
#include <gtest/gtest.h>

#include "kernels/counter_dropout.h"
#include "kernels/cuda_plugin.h"
#include "kernels/device.h"
#include "kernels/linear_cross_entropy.h"
#include "kernels/rms_norm.h"
#include "kernels/swiglu.h"
#include "tests/kernels/compare.h"

namespace baichuan {
namespace {

class CudaKernelsTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    const std::string problem = cuda_problem(probe_cuda());
    if (!problem.empty()) GTEST_SKIP() << "needs a CUDA device: " << problem;
    load_cuda();
    ASSERT_NE(cuda_kernels(), nullptr) << "libbaichuan_cuda.so was not built";
    torch::manual_seed(61);
  }
  at::ScalarType dtype() const { return GetParam(); }
  double tolerance() const { return 2 * unit_roundoff(dtype()) + 2e-6; }
};

at::Tensor on_gpu(const at::Tensor& t) {
  return t.detach().to(at::kCUDA);
}

TEST_P(CudaKernelsTest, RmsNormMatchesFloat64) {
  for (const std::int64_t columns : {1, 33, 160, 5120}) {
    const auto x = random_values({67, columns}, dtype()), weight = random_values({columns}, dtype());
    const auto dy = random_values({67, columns}, dtype());
    const auto gpu_x = on_gpu(x).requires_grad_(), gpu_weight = on_gpu(weight).requires_grad_();
    const auto y = rms_norm(gpu_x, gpu_weight, 1e-6);
    y.backward(on_gpu(dy));
    const auto wide_x = x.to(at::kDouble).requires_grad_(), wide_weight = weight.to(at::kDouble).requires_grad_();
    const auto want = rms_norm_reference(wide_x, wide_weight, 1e-6);
    want.backward(dy.to(at::kDouble));
    EXPECT_LE(largest_error(y.cpu(), want), tolerance()) << columns;
    EXPECT_LE(largest_error(gpu_x.grad().cpu(), wide_x.grad()), tolerance()) << columns;
    EXPECT_LE(largest_error(gpu_weight.grad().cpu(), wide_weight.grad()), tolerance()) << columns;
  }
}

TEST_P(CudaKernelsTest, RmsNormGradientsAreTheSameBitsEveryTime) {
  const auto x = on_gpu(random_values({513, 256}, dtype())), dy = on_gpu(random_values({513, 256}, dtype()));
  std::vector<at::Tensor> gradients;
  for (int run = 0; run < 2; ++run) {
    const auto weight = torch::ones({256}, x.options()).requires_grad_();
    rms_norm(x, weight, 1e-6).backward(dy);
    gradients.push_back(weight.grad());
  }
  EXPECT_TRUE(gradients[0].equal(gradients[1]));
}

TEST_P(CudaKernelsTest, SwigluMatchesFloat64) {
  for (const std::int64_t columns : {1, 33, 2752}) {
    const auto gate = random_values({67, columns}, dtype(), 3.0), up = random_values({67, columns}, dtype());
    const auto dy = random_values({67, columns}, dtype());
    const auto gpu_gate = on_gpu(gate).requires_grad_(), gpu_up = on_gpu(up).requires_grad_();
    const auto y = swiglu(gpu_gate, gpu_up);
    y.backward(on_gpu(dy));
    const auto wide_gate = gate.to(at::kDouble).requires_grad_(), wide_up = up.to(at::kDouble).requires_grad_();
    const auto want = swiglu_reference(wide_gate, wide_up);
    want.backward(dy.to(at::kDouble));
    EXPECT_LE(largest_error(y.cpu(), want), tolerance());
    EXPECT_LE(largest_error(gpu_gate.grad().cpu(), wide_gate.grad()), tolerance());
    EXPECT_LE(largest_error(gpu_up.grad().cpu(), wide_up.grad()), tolerance());
  }
}

TEST_P(CudaKernelsTest, DropoutIsTheCpusBitForBit) {
  for (const std::int64_t channels : {1, 100, 320}) {
    const auto x = random_values({3, 5, channels}, dtype());
    const DropoutMask mask{0.3, 42, 7, torch::tensor({5, 1'000'000'000'000, 0}, torch::kInt64), 3};
    EXPECT_TRUE(counter_dropout(on_gpu(x), mask).cpu().equal(counter_dropout(x, mask))) << channels;
    const auto sum = random_values({3, 5, channels}, dtype());
    const auto gpu_sum = on_gpu(sum);
    add_counter_dropout_(gpu_sum, on_gpu(x), mask);
    add_counter_dropout_(sum, x, mask);
    EXPECT_TRUE(gpu_sum.cpu().equal(sum)) << channels;
  }
}

TEST_P(CudaKernelsTest, LinearCrossEntropyMatchesFloat64) {
  for (const std::int64_t vocabulary : {333, 4096}) {
    const auto hidden = random_values({50, 24}, dtype()), weight = random_values({vocabulary, 24}, dtype(), 0.5);
    auto labels = torch::randint(0, vocabulary, {50}, torch::kInt64);
    labels.masked_fill_(torch::rand({50}) < 0.5, kIgnoreLabel);
    const auto gpu_hidden = on_gpu(hidden).requires_grad_(), gpu_weight = on_gpu(weight).requires_grad_();
    const auto loss = linear_cross_entropy(gpu_hidden, gpu_weight, on_gpu(labels), 0.125);
    loss.backward();
    const auto wide_hidden = hidden.to(at::kDouble).requires_grad_(),
               wide_weight = weight.to(at::kDouble).requires_grad_();
    const auto want = linear_cross_entropy_reference(wide_hidden, wide_weight, labels);
    (want * 0.125).backward();
    EXPECT_NEAR(loss.item<double>() / want.item<double>(), 1.0, 2 * tolerance());
    EXPECT_LE(largest_error(gpu_hidden.grad().cpu(), wide_hidden.grad()), 2 * tolerance());
    EXPECT_LE(largest_error(gpu_weight.grad().cpu(), wide_weight.grad()), 2 * tolerance());
  }
}

INSTANTIATE_TEST_SUITE_P(EveryDtype,
                         CudaKernelsTest,
                         testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                         dtype_case);

}  // namespace
}  // namespace baichuan
