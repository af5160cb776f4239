// Keys and values of the tokens a generation has seen, allocated once for its whole length.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/baichuan_config.h"

namespace baichuan {

class KvCache {
 public:
  // Room for `capacity` tokens of `batch` sequences: 2 * layers * batch * capacity * hidden elements of options' dtype.
  KvCache(const BaichuanConfig& config, int64_t batch, int64_t capacity, const at::TensorOptions& options);

  // Tokens that every layer holds.
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  int64_t batch() const { return batch_; }

  // Writes k and v [B, H, T, K] (any strides) of the next T tokens of one layer; returns all of that layer's keys and
  // values, views [B, H, length + T, K] that stay valid as long as the cache does. The length changes with advance().
  std::pair<at::Tensor, at::Tensor> append(int64_t layer, const at::Tensor& k, const at::Tensor& v);
  // Once every layer has appended its T tokens.
  void advance(int64_t tokens);
  // Forgets what comes after the first `tokens` tokens.
  void truncate(int64_t tokens);

 private:
  int64_t batch_;
  int64_t capacity_;
  int64_t length_ = 0;
  std::vector<at::Tensor> keys_;  // one a layer, [B, H, capacity, K]
  std::vector<at::Tensor> values_;
};

}  // namespace baichuan
