#include "kernels/swiglu.h"

#include <algorithm>

#include <torch/torch.h>

#include "kernels/cpu/select.h"
#include "kernels/cuda_plugin.h"

namespace baichuan {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Elementwise work is cut into pieces of this many elements: 16 to 64 KB a tensor, several for every thread.
constexpr std::int64_t kPiece = 8192;

template <class Body>
void for_pieces(std::int64_t numel, const Body& body) {
  const std::int64_t pieces = (numel + kPiece - 1) / kPiece;
  cpu::for_rows(pieces, kPiece, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t piece = first; piece < last; ++piece) body(piece, std::min(kPiece, numel - piece * kPiece));
  });
}

at::Tensor forward_pieces(const at::Tensor& gate, const at::Tensor& up) {
  const at::Tensor y = at::empty_like(gate);
  if (const auto* const on_gpu = cuda_kernels_for({&gate, &up})) {
    on_gpu->swiglu(y, gate, up);
    return y;
  }
  const cpu::RowKernels& kernels = *cpu::fused_kernels({&gate, &up});
  for_pieces(gate.numel(), [&](std::int64_t piece, std::int64_t n) {
    kernels.swiglu(cpu::mutable_row_of(y, piece, kPiece), cpu::row_of(gate, piece, kPiece),
                   cpu::row_of(up, piece, kPiece), n);
  });
  return y;
}

class SwigluFunction : public torch::autograd::Function<SwigluFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    const at::Tensor g = gate.contiguous();
    const at::Tensor u = up.contiguous();
    ctx->save_for_backward({g, u});
    return forward_pieces(g, u);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor& gate = saved[0];
    const at::Tensor& up = saved[1];
    const at::Tensor dy = grads[0].contiguous();
    const at::Tensor dgate = at::empty_like(gate);
    const at::Tensor dup = at::empty_like(up);
    if (const auto* const on_gpu = cuda_kernels_for({&gate, &up})) {
      on_gpu->swiglu_backward(dgate, dup, dy, gate, up);
      return {dgate, dup};
    }
    const cpu::RowKernels& kernels = *cpu::fused_kernels({&gate, &up});
    for_pieces(gate.numel(), [&](std::int64_t piece, std::int64_t n) {
      kernels.swiglu_backward(cpu::mutable_row_of(dgate, piece, kPiece), cpu::mutable_row_of(dup, piece, kPiece),
                              cpu::row_of(dy, piece, kPiece), cpu::row_of(gate, piece, kPiece),
                              cpu::row_of(up, piece, kPiece), n);
    });
    return {dgate, dup};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  TORCH_CHECK_VALUE(gate.sizes() == up.sizes(), "swiglu: gate and up must have one shape, got ", gate.sizes(), " and ",
                    up.sizes());
  const bool fused = cpu::fused_kernels({&gate, &up}) != nullptr || cuda_kernels_for({&gate, &up}) != nullptr;
  if (!fused || gate.numel() == 0) return swiglu_reference(gate, up);
  if (at::GradMode::is_enabled() && (gate.requires_grad() || up.requires_grad()))
    return SwigluFunction::apply(gate, up);
  return forward_pieces(gate.contiguous(), up.contiguous());
}

at::Tensor swiglu_reference(const at::Tensor& gate, const at::Tensor& up) {
  return at::silu(gate) * up;
}

}  // namespace baichuan
