#include "train/flop_utilisation.h"

#include <algorithm>
#include <array>
#include <chrono>

#include <torch/torch.h>

#include "data/sft_dataset.h"
#include "kernels/device.h"
#include "model/baichuan_for_causal_lm.h"

namespace baichuan {

namespace {

constexpr double kTera = 1e12;

// Tera-FLOPs of 16-bit and of float32 (TF32 is not used) products: NVIDIA's data sheets, without sparsity.
struct GpuPeak {
  std::string_view name;
  double half;
  double single;
};
constexpr auto kGpuPeaks = std::to_array<GpuPeak>({{"A100", 312, 19.5},
                                                   {"A800", 312, 19.5},
                                                   {"H100", 989, 67},
                                                   {"H800", 989, 67},
                                                   {"H200", 989, 67},
                                                   {"A10", 125, 31.2},
                                                   {"L40", 181, 90.5},
                                                   {"RTX 4090", 165, 82.6},
                                                   {"RTX 3090", 71, 35.6}});

double measured_cpu_peak(at::ScalarType dtype) {
  constexpr std::int64_t kSize = 768;
  const at::NoGradGuard no_grad;
  const at::Tensor a = at::ones({kSize, kSize}, dtype);
  double best = 0;
  for (int i = 0; i < 3; ++i) {  // the first warms up
    const auto began = std::chrono::steady_clock::now();
    at::mm(a, a);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    best = std::max(best, 2.0 * kSize * kSize * kSize / seconds);
  }
  return best;
}

std::optional<double> peak_of(at::Device device, at::ScalarType dtype) {
  if (device.is_cpu()) return measured_cpu_peak(dtype);
  for (const auto& gpu : probe_cuda().devices)
    if (gpu.index == device.index()) return gpu_peak_flops(gpu.name, dtype);
  return {};
}

}  // namespace

double training_flops_per_token(const BaichuanForCausalLM& model, double mean_length, bool weights_frozen) {
  const auto& config = model.config();
  double in_products = 0;
  for (const auto& named : model.named_parameters())
    if (named.value().dim() == 2 && named.key().find("embed_tokens") == std::string::npos)
      in_products += static_cast<double>(named.value().numel());
  const double attention = 4.0 * mean_length / 2 * static_cast<double>(config.hidden_size * config.num_layers);
  return (weights_frozen ? 4 : 6) * in_products + 3 * attention;
}

std::optional<double> gpu_peak_flops(std::string_view gpu_name, at::ScalarType dtype) {
  for (const auto& gpu : kGpuPeaks)
    if (gpu_name.find(gpu.name) != std::string_view::npos)
      return (c10::elementSize(dtype) == 2 ? gpu.half : gpu.single) * kTera;
  return {};
}

FlopUtilisation::FlopUtilisation(const BaichuanForCausalLM& model, const SftDataset& rows, bool weights_frozen)
    : model_(model) {
  double tokens = 0;
  for (std::int64_t i = 0; i < rows.size(); ++i) tokens += static_cast<double>(rows.length(i));
  flops_per_token_ = training_flops_per_token(
      model, tokens / static_cast<double>(std::max<std::int64_t>(rows.size(), 1)), weights_frozen);
}

std::optional<double> FlopUtilisation::share_of_peak(double tokens_per_second) const {
  if (!peak_known_) peak_ = peak_of(model_.device(), model_.compute_dtype());
  peak_known_ = true;
  if (!peak_) return {};
  return tokens_per_second * flops_per_token_ / *peak_;
}

}  // namespace baichuan
