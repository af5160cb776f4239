// Attention never holds a tensor of H x T x T: 40 heads of 4,096 tokens would take 2.7 GB in
// float32.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <torch/torch.h>

#include "model/alibi.h"
#include "model/causal_attention.h"

namespace baichuan {
namespace {

constexpr int64_t kHeads = 40, kHeadDim = 8;

double score_matrix_gb(int64_t tokens) {
  return 4e-9 * static_cast<double>(kHeads * tokens * tokens);
}

double peak_gb() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1e6;
}

// Gigabytes that a forward and backward pass adds to the peak of the process so far.
double growth(AlibiMode mode, int64_t tokens) {
  Positions positions;
  positions.mode = mode;
  positions.alibi_slopes = alibi_slope_tensor(kHeads, at::kCPU);
  positions.alibi_table = alibi_table(positions.alibi_slopes, tokens);
  torch::manual_seed(1);
  const auto qkv = torch::randn({1, tokens, 3, kHeads, kHeadDim}).requires_grad_(true);
  const double before = peak_gb();
  self_attention(qkv, positions).sum().backward();
  EXPECT_TRUE(at::isfinite(qkv.grad()).all().item<bool>());
  return peak_gb() - before;
}

TEST(AttentionMemory, IsLinearInTheLength) {
  EXPECT_LT(growth(AlibiMode::kExact, 4096), 0.1 * score_matrix_gb(4096));
}

TEST(AttentionMemory, OfOfficialModeIsBoundedByItsChunks) {
  EXPECT_LT(growth(AlibiMode::kOfficial, 2048), 0.3 * score_matrix_gb(2048));
}

}  // namespace
}  // namespace baichuan
