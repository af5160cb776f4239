// Micro-batches: rows of token ids padded on the right to the longest.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace baichuan {

inline constexpr std::int64_t kIgnoredLabel = -100;

struct Batch {
  at::Tensor ids;                  // int64 [B, T], padded with pad_id
  at::Tensor targets;              // int64 [B, T]: the label of the NEXT position, kIgnoredLabel where there is none
  at::Tensor sample_ids;           // int64 [B]: index in the training set; keys the dropout
  std::int64_t target_tokens = 0;  // targets that count
  std::int64_t tokens = 0;         // without padding
};

struct BatchRow {
  std::span<const std::int32_t> ids;
  std::span<const std::int32_t> labels;  // as long as ids; label i belongs to id i
  std::int64_t sample_id;
};

Batch make_batch(std::span<const BatchRow> rows, std::int64_t pad_id, at::Device device);

}  // namespace baichuan
