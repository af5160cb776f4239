// Model FLOPs utilisation (Chowdhery et al. 2022, PaLM, appendix B): the arithmetic that a token needs, times the
// tokens in a second, over the device's peak. Recomputed activations are not counted as work.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <ATen/core/Tensor.h>

namespace baichuan {

class BaichuanForCausalLM;
class SftDataset;

// FLOPs of one token's training step: 2 a weight for the forward pass, 2 for the gradient of the input, 2 for that of
// the weight where it is trained; and attention over `mean_length` / 2 keys, forward and twice backward.
double training_flops_per_token(const BaichuanForCausalLM& model, double mean_length, bool weights_frozen);

// Of dense matrix products in that type, by the maker's data sheet; empty for a GPU that is not known.
std::optional<double> gpu_peak_flops(std::string_view gpu_name, at::ScalarType dtype);

class FlopUtilisation {
 public:
  FlopUtilisation(const BaichuanForCausalLM& model, const SftDataset& rows, bool weights_frozen);

  // tokens_per_second of one device -> 0 … 1; empty where the peak is not known. A CPU's peak is measured at the first
  // call, with one matrix product (a few milliseconds).
  std::optional<double> share_of_peak(double tokens_per_second) const;

 private:
  const BaichuanForCausalLM& model_;
  double flops_per_token_;
  mutable std::optional<double> peak_;
  mutable bool peak_known_ = false;
};

}  // namespace baichuan
