#include "model/kv_cache.h"

#include <torch/torch.h>

namespace baichuan {

KvCache::KvCache(const BaichuanConfig& config, int64_t batch, int64_t capacity, const at::TensorOptions& options)
    : batch_(batch), capacity_(capacity) {
  TORCH_CHECK_VALUE(batch > 0 && capacity > 0, "KvCache: expected a positive batch and capacity, got ", batch, " and ",
                    capacity);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    keys_.push_back(at::empty({batch, config.num_heads, capacity, config.head_dim()}, options));
    values_.push_back(at::empty_like(keys_.back()));
  }
}

std::pair<at::Tensor, at::Tensor> KvCache::append(int64_t layer, const at::Tensor& k, const at::Tensor& v) {
  const int64_t tokens = k.size(2);
  TORCH_CHECK_VALUE(k.size(0) == batch_ && length_ + tokens <= capacity_, "KvCache: expected at most ",
                    capacity_ - length_, " more tokens of ", batch_, " sequences, got ", tokens, " of ", k.size(0));
  const auto at_layer = static_cast<std::size_t>(layer);
  keys_[at_layer].narrow(2, length_, tokens).copy_(k);
  values_[at_layer].narrow(2, length_, tokens).copy_(v);
  return {keys_[at_layer].narrow(2, 0, length_ + tokens), values_[at_layer].narrow(2, 0, length_ + tokens)};
}

void KvCache::advance(int64_t tokens) {
  TORCH_CHECK_VALUE(tokens >= 0 && length_ + tokens <= capacity_, "KvCache: cannot advance by ", tokens, " from ",
                    length_, " of ", capacity_);
  length_ += tokens;
}

void KvCache::truncate(int64_t tokens) {
  TORCH_CHECK_VALUE(tokens >= 0 && tokens <= length_, "KvCache: expected to keep 0 to ", length_, " tokens, got ",
                    tokens);
  length_ = tokens;
}

}  // namespace baichuan
