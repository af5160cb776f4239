#include "kernels/rms_norm.h"

#include <algorithm>
#include <vector>

#include <torch/torch.h>

#include "kernels/cpu/select.h"
#include "kernels/cuda_plugin.h"

namespace baichuan {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Normalised {
  at::Tensor y;
  at::Tensor rstd;  // [rows] float32
};

// x and weight contiguous, where there is a fused kernel for them.
Normalised forward_rows(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const std::int64_t columns = x.size(-1);
  const std::int64_t rows = x.numel() / columns;
  Normalised result{at::empty_like(x), at::empty({rows}, x.options().dtype(at::kFloat))};
  if (const auto* const on_gpu = cuda_kernels_for({&x, &weight})) {
    on_gpu->rms_norm(result.y, result.rstd, x, weight, eps);
    return result;
  }
  const cpu::RowKernels& kernels = *cpu::fused_kernels({&x, &weight});
  auto* const rstd = result.rstd.mutable_data_ptr<float>();
  cpu::for_rows(rows, columns, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last; ++r)
      rstd[r] = kernels.rms_norm(cpu::mutable_row_of(result.y, r, columns), cpu::row_of(x, r, columns),
                                 weight.const_data_ptr(), columns, static_cast<float>(eps));
  });
  return result;
}

struct Gradients {
  at::Tensor x;
  at::Tensor weight;
};

Gradients backward_rows(const at::Tensor& dy,
                        const at::Tensor& x,
                        const at::Tensor& weight,
                        const at::Tensor& rstd,
                        bool wants_x,
                        bool wants_weight) {
  const std::int64_t columns = x.size(-1);
  const std::int64_t rows = x.numel() / columns;
  // The rows are summed in blocks whose number depends on the shape alone, so that threads do not change the sum.
  constexpr std::int64_t kMostBlocks = 32;
  const std::int64_t rows_a_block = std::max<std::int64_t>(16, (rows + kMostBlocks - 1) / kMostBlocks);
  const std::int64_t blocks = (rows + rows_a_block - 1) / rows_a_block;
  Gradients result;
  if (wants_x) result.x = at::empty_like(x);
  if (const auto* const on_gpu = cuda_kernels_for({&x, &weight})) {
    if (wants_weight) result.weight = at::empty({columns}, x.options().dtype(at::kFloat));
    on_gpu->rms_norm_backward(result.x, result.weight, dy, x, weight, rstd);
    if (wants_weight) result.weight = result.weight.to(weight.scalar_type());
    return result;
  }
  const cpu::RowKernels& kernels = *cpu::fused_kernels({&x, &weight});
  at::Tensor partial;
  if (wants_weight) partial = at::zeros({blocks, columns}, x.options().dtype(at::kFloat));
  cpu::for_rows(blocks, rows_a_block * columns, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first * rows_a_block; r < std::min(rows, last * rows_a_block); ++r)
      kernels.rms_norm_backward(wants_x ? cpu::mutable_row_of(result.x, r, columns) : nullptr,
                                wants_weight ? partial.mutable_data_ptr<float>() + r / rows_a_block * columns : nullptr,
                                cpu::row_of(dy, r, columns), cpu::row_of(x, r, columns), weight.const_data_ptr(),
                                columns, rstd.const_data_ptr<float>()[r]);
  });
  if (wants_weight) {
    at::Tensor total = partial[0];
    for (std::int64_t block = 1; block < blocks; ++block) total.add_(partial[block]);
    result.weight = total.to(weight.scalar_type());
  }
  return result;
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, double eps) {
    const at::Tensor rows = x.contiguous();
    const at::Tensor scale = weight.contiguous();
    auto result = forward_rows(rows, scale, eps);
    ctx->save_for_backward({rows, scale, result.rstd});
    return result.y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor dy = grads[0].contiguous();
    auto result = backward_rows(dy, saved[0], saved[1], saved[2], ctx->needs_input_grad(0), ctx->needs_input_grad(1));
    return {result.x, result.weight, {}};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  TORCH_CHECK_VALUE(x.dim() >= 1 && weight.dim() == 1 && weight.size(0) == x.size(-1),
                    "rms_norm: weight must have the size of x's last dimension, got x ", x.sizes(), " and weight ",
                    weight.sizes());
  const bool fused = cpu::fused_kernels({&x, &weight}) != nullptr || cuda_kernels_for({&x, &weight}) != nullptr;
  if (!fused || x.numel() == 0) return rms_norm_reference(x, weight, eps);
  if (at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad()))
    return RmsNormFunction::apply(x, weight, eps);
  return forward_rows(x.contiguous(), weight.contiguous(), eps).y;
}

at::Tensor rms_norm_reference(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  const at::Tensor scale = (wide.square().mean(-1, /*keepdim=*/true) + eps).rsqrt();
  return weight * (wide * scale).to(weight.scalar_type());
}

}  // namespace baichuan
