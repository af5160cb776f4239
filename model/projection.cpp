#include "model/projection.h"

#include <torch/torch.h>

namespace baichuan {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A product with a weight of another dtype. Autograd's own nodes would keep the converted copy until the backward
// pass, for every layer at once; here it lives as long as one product.
class ConvertedLinear : public torch::autograd::Function<ConvertedLinear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight) {
    ctx->save_for_backward({weight.requires_grad() ? x : at::Tensor(), weight});
    return at::linear(x, weight.to(x.scalar_type()));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& weight = saved[1];
    const auto& dy = grads[0];
    at::Tensor dx, dweight;
    if (ctx->needs_input_grad(0)) dx = at::matmul(dy, weight.to(dy.scalar_type()));
    if (ctx->needs_input_grad(1)) {
      const auto rows = [](const at::Tensor& t) { return t.reshape({-1, t.size(-1)}); };
      dweight = at::matmul(rows(dy).t(), rows(saved[0])).to(weight.scalar_type());
    }
    return {dx, dweight};
  }
};

}  // namespace

at::Tensor linear_in_dtype_of(const at::Tensor& x, const at::Tensor& weight) {
  return x.scalar_type() == weight.scalar_type() ? at::linear(x, weight) : ConvertedLinear::apply(x, weight);
}

DenseProjection::DenseProjection(int64_t in_features, int64_t out_features, at::TensorOptions options) {
  weight = register_parameter("weight", at::empty({out_features, in_features}, options), /*requires_grad=*/false);
}

at::Tensor DenseProjection::forward(const at::Tensor& x) {
  return linear_in_dtype_of(x, weight);
}

}  // namespace baichuan
