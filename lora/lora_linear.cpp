#include "lora/lora_linear.h"

#include <torch/torch.h>

namespace baichuan {

LoraLinear::LoraLinear(std::shared_ptr<Projection> base_projection,
                       std::shared_ptr<const AdapterState> state,
                       std::int64_t rank,
                       double scaling,
                       double dropout,
                       std::int64_t stream,
                       at::Device device)
    : state_(std::move(state)), scaling_(scaling), dropout_(dropout), stream_(stream) {
  base = register_module("base", std::move(base_projection));
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  lora_A = register_parameter("lora_A", at::empty({rank, base->in_features()}, options));
  lora_B = register_parameter("lora_B", at::empty({base->out_features(), rank}, options));
}

at::Tensor LoraLinear::forward(const at::Tensor& x) {
  auto y = base->forward(x);
  if (!state_->enabled) return y;
  auto input = x;
  if (state_->training && dropout_ > 0) {
    const auto& key = state_->key;
    input = counter_dropout(x, {dropout_, key.seed, key.step, key.sample_ids, stream_});
  }
  const auto low = at::linear(input, lora_A.to(x.scalar_type())).flatten(0, -2);  // [B * T, rank]
  // The base's result is ours to overwrite: no second [B, T, out] is made.
  return y.flatten(0, -2).addmm_(low, lora_B.to(x.scalar_type()).t(), /*beta=*/1, /*alpha=*/scaling_).view(y.sizes());
}

}  // namespace baichuan
