// Helpers of the kernel tests: errors against float64, and the tolerances of the three element types.
#pragma once

#include <ostream>
#include <string>

#include <gtest/gtest.h>

#include <torch/torch.h>

namespace baichuan {

// One rounding to the type costs at most half of this relative to the value.
inline double unit_roundoff(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBFloat16:
      return 1.0 / 256;  // 8 significant bits
    case at::kHalf:
      return 1.0 / 2048;  // 11 significant bits
    default:
      return 1.0 / (1 << 23);  // 24 significant bits
  }
}

// max |got - want| / max |want|, both as float64.
inline double largest_error(const at::Tensor& got, const at::Tensor& want) {
  const auto wanted = want.detach().to(at::kDouble);
  const double size = wanted.abs().max().item<double>();
  return (got.detach().to(at::kDouble) - wanted).abs().max().item<double>() / (size > 0 ? size : 1.0);
}

inline at::Tensor random_values(at::IntArrayRef sizes, at::ScalarType dtype, double spread = 1.0) {
  return (torch::randn(sizes, torch::kFloat64) * spread).to(dtype);
}

inline std::string dtype_label(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? "BFloat16" : dtype == at::kHalf ? "Float16" : "Float32";
}

inline std::string dtype_case(const testing::TestParamInfo<at::ScalarType>& tested) {
  return dtype_label(tested.param);
}

}  // namespace baichuan
