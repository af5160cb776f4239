// Causal attention with ALiBi or rotary positions, with and without a cache, on every device. No tensor of size
// H x T x T is ever held: flash kernels where there are any, else queries in chunks.
// Shapes: B batch, T query tokens, S key tokens (S = past + T), H heads, K head size.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "model/baichuan_config.h"
#include "model/rotary.h"

namespace baichuan {

enum class AlibiMode {
  kExact,     // relative positions, scores in float32: what the paper defines
  kOfficial,  // the published classes' arithmetic: absolute positions and softmax in the model's dtype
};

// How positions enter: the same for all layers of one forward pass.
struct Positions {
  PositionEmbedding kind = PositionEmbedding::kAlibi;
  AlibiMode mode = AlibiMode::kExact;
  int64_t past = 0;         // tokens before the first query
  at::Tensor alibi_slopes;  // [H] float32, ALiBi only
  at::Tensor alibi_table;   // alibi_table(alibi_slopes, span >= S), ALiBi only
  RotaryTable rotary;       // S positions at least, RoPE only
};

// Attention of a sequence to itself, differentiable. qkv [B, T, 3, H, K], contiguous, before rotation: it is
// overwritten by its rotated form, which the backward pass keeps. -> [B, T, H * K]
at::Tensor self_attention(const at::Tensor& qkv, const Positions& positions);

// Attention of new queries q [B, H, T, K] to all of k, v [B, H, past + T, K], rotated already; no gradients.
// -> [B, T, H * K]
at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Positions& positions);

// Rotates the q and k thirds of qkv in place (RoPE; nothing for ALiBi).
void apply_rotary_(at::Tensor& qkv, const Positions& positions);

}  // namespace baichuan
