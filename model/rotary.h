// Rotary position embedding: columns c and c + K/2 of a head turn by the angle position * 10000^(-2c/K).
// Source: Su et al. 2021; halves, not neighbours, form the pairs, as in the published 7B weights.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace baichuan {

struct RotaryTable {
  at::Tensor cos;  // [P, K/2] float32
  at::Tensor sin;
};

// Frequencies are computed here, in float32, as the published code does: the ones stored in bfloat16 checkpoints are
// worse.
RotaryTable rotary_table(int64_t positions, int64_t head_dim, at::Device device);

// Turns q and k of qkv [B, T, 3, H, K] (contiguous) in place; row t is position `past` + t. `backward` turns the
// other way, which is the gradient. Computed in float32, rounded once.
void rotate_(at::Tensor& qkv, const RotaryTable& table, int64_t past, bool backward);

// The published arithmetic for parity tests: tables rounded to x's dtype, every product rounded. x [B, T, H, K].
at::Tensor rotate_official(const at::Tensor& x, const RotaryTable& table, int64_t past);

}  // namespace baichuan
