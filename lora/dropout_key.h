#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace baichuan {

// What the dropout of every adapter is drawn from, besides its own number, position and channel: the same key gives
// the same masks, whatever the batch, the ranks, or a second computation of the same activations.
struct DropoutKey {
  std::uint64_t seed = 0;
  std::int64_t step = 0;
  at::Tensor sample_ids;  // int64 [B]: the global index of each row's sample
};

}  // namespace baichuan
