// The gated activation of the feed-forward block: swiglu(gate, up) = round(silu(gate)) * up, silu(v) = v / (1 + e^-v).
#pragma once

#include <ATen/core/Tensor.h>

namespace baichuan {

// Same shape and dtype in and out; differentiable in both. Arithmetic in float32; silu is rounded to the dtype before
// the product, as the checkpoints' own code does. Keeps gate and up, nothing else.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

// The same in plain ATen operations, for any dtype and device.
at::Tensor swiglu_reference(const at::Tensor& gate, const at::Tensor& up);

}  // namespace baichuan
