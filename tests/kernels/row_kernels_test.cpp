#include "kernels/cpu/row_kernels.h"

#include <cmath>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "compare.h"
#include "core/philox.h"

namespace baichuan {
namespace {

using cpu::Element;
using cpu::Isa;

// Lengths on both sides of every vector width, and one with several summing segments.
const std::vector<std::int64_t> kLengths = {1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 100, 257, 2500};

struct Case {
  Isa isa;
  Element element;
  at::ScalarType dtype() const {
    return element == Element::kFloat32 ? at::kFloat : element == Element::kBFloat16 ? at::kBFloat16 : at::kHalf;
  }
};

class RowKernels : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!cpu::isa_available(GetParam().isa)) GTEST_SKIP() << "this processor lacks the instruction set";
    torch::manual_seed(7);
  }
  const cpu::RowKernels& kernels() const { return cpu::row_kernels(GetParam().isa, GetParam().element); }
  at::ScalarType dtype() const { return GetParam().dtype(); }
  // Two roundings of the result and the float32 arithmetic behind them.
  double tolerance() const { return 2 * unit_roundoff(dtype()) + 1e-6; }
};

TEST_P(RowKernels, CrossEntropyMatchesFloat64) {
  for (const std::int64_t n : kLengths) {
    const auto logits = random_values({n}, dtype(), 3.0);
    const std::int64_t label = n / 2;
    const auto log_probabilities = torch::log_softmax(logits.to(at::kDouble), 0);
    auto want = log_probabilities.exp();
    want[label] -= 1.0;
    want *= 0.25;

    auto row = logits.clone();
    const float loss = kernels().cross_entropy(row.data_ptr(), n, label, 0.25f, /*write_gradient=*/true);
    EXPECT_NEAR(loss, -log_probabilities[label].item<double>(), 2e-6 * (1 + std::abs(loss))) << "length " << n;
    EXPECT_LE((row.to(at::kDouble) - want).abs().max().item<double>(), tolerance() * 0.25) << "length " << n;

    row = logits.clone();
    EXPECT_EQ(kernels().cross_entropy(row.data_ptr(), n, label, 0.25f, /*write_gradient=*/false), loss);
    EXPECT_TRUE(row.equal(logits)) << "without a gradient the logits stay";
  }
}

TEST_P(RowKernels, CrossEntropySurvivesInfinitiesAndShowsNaN) {
  auto logits = random_values({40}, dtype());
  logits[3] = -std::numeric_limits<double>::infinity();
  auto row = logits.clone();
  EXPECT_TRUE(std::isfinite(kernels().cross_entropy(row.data_ptr(), 40, 5, 1.0f, true)));
  EXPECT_EQ(row[3].item<double>(), 0.0);
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    logits[39] = bad;
    row = logits.clone();
    EXPECT_FALSE(std::isfinite(kernels().cross_entropy(row.data_ptr(), 40, 5, 1.0f, true)));
  }
}

TEST_P(RowKernels, DropoutTakesTheWordsOfPhilox) {
  const cpu::DropoutRow mask{{11, 12}, 5, {7, 8}, 0x60000000u, 1.6f};
  for (const std::int64_t n : kLengths) {
    const auto x = random_values({n}, dtype());
    auto y = torch::zeros_like(x);
    kernels().dropout(y.data_ptr(), x.data_ptr(), n, mask, /*accumulate=*/false);
    for (std::int64_t c = 0; c < n; ++c) {
      const auto words = philox4x32({static_cast<std::uint32_t>(c / 64 * 16 + c % 16), 5, 7, 8}, {11, 12});
      const bool kept = words[static_cast<std::size_t>(c / 16 % 4)] >= mask.threshold;
      const auto want = (x[c].to(at::kFloat) * (kept ? 1.6f : 0.0f)).to(dtype());
      ASSERT_EQ(y[c].item<double>(), want.item<double>()) << "channel " << c << " of " << n;
    }
    const auto before = random_values({n}, dtype());
    auto sum = before.clone();
    kernels().dropout(sum.data_ptr(), x.data_ptr(), n, mask, /*accumulate=*/true);
    EXPECT_LE(largest_error(sum, before.to(at::kDouble) + y.to(at::kDouble)), tolerance());
  }
}

TEST_P(RowKernels, RoundingIsToNearestEvenLikeLibTorch) {
  // x * 1.0 rounds nothing, so the product with a rounded weight shows how results are stored.
  const auto wide = torch::cat({torch::randn({4096}), torch::randn({4096}) * 1e-6, torch::randn({4096}) * 1e4});
  const auto x = wide.to(dtype());
  const auto gate = torch::full_like(x, 30.0);  // silu(30) = 30 in every type
  auto y = torch::empty_like(x);
  kernels().swiglu(y.data_ptr(), gate.data_ptr(), x.data_ptr(), x.numel());
  EXPECT_TRUE(y.equal((x.to(at::kFloat) * 30.0f).to(dtype())));
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512})
    for (const Element element : {Element::kFloat32, Element::kBFloat16, Element::kFloat16})
      cases.push_back({isa, element});
  return cases;
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  const char* const isa = info.param.isa == Isa::kPortable ? "Portable"
                          : info.param.isa == Isa::kAvx2   ? "Avx2"
                                                           : "Avx512";
  return isa + dtype_label(info.param.dtype());
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, RowKernels, testing::ValuesIn(all_cases()), case_name);

}  // namespace
}  // namespace baichuan
