// Dropout whose mask is a function of counters: whether an element is dropped depends on (seed, step, global sample
// index, stream, position, channel) and on nothing else. Batches of another composition, padding, other ranks, threads,
// resumed runs and recomputed activations therefore see the same mask, and backward computes it again instead of
// keeping it.
//
// The draw of an element is a 32-bit word of Philox4x32-10. Its key is the first two words of the block
// (step, stream) under philox_key(seed, kDropout); its counter is (block of channels, position, sample index), and
// channel c takes word c / 16 % 4 of the block c / 64 * 16 + c % 16. The element is dropped when the word is below
// p * 2^32; kept values are multiplied by 1 / (1 - p) in float32.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace baichuan {

struct DropoutMask {
  double p = 0;  // 0 <= p < 1
  std::uint64_t seed = 0;
  std::int64_t step = 0;
  at::Tensor sample_ids;    // int64 [B]: the global sample index of each row of the batch
  std::int64_t stream = 0;  // which dropout of the model this is
};

// x [B, T, C] -> the same shape and dtype. With p = 0 it returns x itself. Differentiable.
at::Tensor counter_dropout(const at::Tensor& x, const DropoutMask& mask);

// to += counter_dropout(x), without the tensor in between. Not differentiable: for hand-written backward passes.
void add_counter_dropout_(const at::Tensor& to, const at::Tensor& x, const DropoutMask& mask);

// The same in plain ATen operations, for any dtype and device (and a thousand times slower).
at::Tensor counter_dropout_reference(const at::Tensor& x, const DropoutMask& mask);

}  // namespace baichuan
