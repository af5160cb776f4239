// A projection with a low-rank adapter (Hu et al. 2021): y = base(x) + scaling * (dropout(x) A^T) B^T.
#pragma once

#include <cstdint>
#include <memory>

#include "lora/dropout_key.h"
#include "model/projection.h"

namespace baichuan {

// What all adapters of a model share.
struct LoraState {
  DropoutKey key;
  bool training = false;  // dropout on
  bool enabled = true;    // false: the base alone answers
};

// A and B are float32 and computed with in x's dtype; the base keeps its own. Where the base is a frozen
// DenseProjection, one autograd node does both products: it keeps x and the [tokens, rank] product, nothing else, and
// its backward makes dx = dy W + scaling * mask(dy B A) without the temporaries of separate nodes, and no dW.
class LoraLinear : public Projection {
 public:
  // A and B are zeros until set. `number` tells the dropouts of one model apart.
  LoraLinear(std::shared_ptr<Projection> base_projection,
             std::int64_t rank,
             double scaling,
             double dropout,
             std::int64_t number,
             std::shared_ptr<const LoraState> state);

  at::Tensor forward(const at::Tensor& x) override;
  std::int64_t in_features() const override { return base->in_features(); }
  std::int64_t out_features() const override { return base->out_features(); }

  double scaling() const { return scaling_; }
  void set_dropout(double dropout) { dropout_ = dropout; }
  // scaling * B A, float32 [out, in]; rows first … first + count - 1.
  at::Tensor delta_rows(std::int64_t first, std::int64_t count) const;

  std::shared_ptr<Projection> base;
  at::Tensor lora_A;  // [rank, in] float32
  at::Tensor lora_B;  // [out, rank] float32

 private:
  double scaling_;
  double dropout_;
  std::int64_t number_;
  std::shared_ptr<const LoraState> state_;
};

}  // namespace baichuan
