// The seam through which adapters, quantisation and parallelism reach the model: everything that multiplies by a
// weight matrix inside a decoder layer is a Projection in a replaceable slot.
#pragma once

#include <cstdint>

#include <torch/nn/module.h>

namespace baichuan {

class Projection : public torch::nn::Module {
 public:
  // x [..., in_features] -> [..., out_features] in x's dtype. The result is a tensor of the caller's own: it may be
  // overwritten, so implementations must not save it for their backward pass.
  virtual at::Tensor forward(const at::Tensor& x) = 0;
  virtual int64_t in_features() const = 0;
  virtual int64_t out_features() const = 0;
};

// x * weight^T in x's dtype. A weight of another dtype is converted for the product, and again for the backward pass.
at::Tensor linear_in_dtype_of(const at::Tensor& x, const at::Tensor& weight);

// A plain matrix, no bias.
class DenseProjection : public Projection {
 public:
  // The weight is uninitialised.
  DenseProjection(int64_t in_features, int64_t out_features, at::TensorOptions options);

  at::Tensor forward(const at::Tensor& x) override;
  int64_t in_features() const override { return weight.size(1); }
  int64_t out_features() const override { return weight.size(0); }

  at::Tensor weight;  // [out, in]
};

}  // namespace baichuan
