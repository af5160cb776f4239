#include "model/causal_attention.h"

#include <torch/torch.h>

#include "model/attention_kernels.h"

namespace baichuan {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Heads {
  at::Tensor q, k, v;  // [B, H, T, K] views of qkv
};

Heads split_heads(const at::Tensor& qkv) {
  const auto heads = qkv.permute({2, 0, 3, 1, 4});  // [3, B, H, T, K]
  return {heads[0], heads[1], heads[2]};
}

AttentionResult forward_heads(const at::Tensor& q,
                              const at::Tensor& k,
                              const at::Tensor& v,
                              const Positions& positions) {
  if (flash_serves_cpu(q, positions)) return flash_forward_cpu(q, k, v, positions);
  if (flash_serves_cuda(q, positions)) return flash_forward_cuda(q, k, v, positions);
  return plain_forward(q, k, v, positions);
}

// Positions travel to the backward pass inside the autograd context.
struct PositionsHolder : torch::CustomClassHolder {
  explicit PositionsHolder(Positions p) : positions(std::move(p)) {}
  Positions positions;
};

// One node for rotation, attention and the packing of three gradients into one: autograd's own nodes for the views
// would add three zero-filled copies of qkv.
class SelfAttention : public torch::autograd::Function<SelfAttention> {
 public:
  static at::Tensor forward(AutogradContext* ctx,
                            const at::Tensor& qkv,
                            const c10::intrusive_ptr<PositionsHolder>& holder) {
    const Positions& positions = holder->positions;
    // A leaf is somebody's parameter (in tests): it is not ours to overwrite.
    at::Tensor rotated = qkv.is_leaf() && qkv.requires_grad() ? qkv.clone() : qkv.detach();
    apply_rotary_(rotated, positions);
    const Heads heads = split_heads(rotated);
    const AttentionResult result = forward_heads(heads.q, heads.k, heads.v, positions);
    variable_list saved{rotated, result.out, result.logsumexp};
    saved.insert(saved.end(), result.state.begin(), result.state.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["positions"] = c10::IValue::make_capsule(holder);
    return result.out.flatten(2);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto capsule = ctx->saved_data["positions"].toCapsule();
    const Positions& positions = static_cast<const PositionsHolder&>(*capsule).positions;
    const at::Tensor& rotated = saved[0];
    const Heads heads = split_heads(rotated);
    at::Tensor gradient = at::empty_like(rotated);
    const Heads into = split_heads(gradient);
    const auto dout = grads[0].contiguous().view(saved[1].sizes());
    const AttentionResult result{saved[1], saved[2], {saved.begin() + 3, saved.end()}};
    if (flash_serves_cpu(heads.q, positions))
      flash_backward_cpu(dout, heads.q, heads.k, heads.v, result, positions, into.q, into.k, into.v);
    else if (flash_serves_cuda(heads.q, positions))
      flash_backward_cuda(dout, heads.q, heads.k, heads.v, result, positions, into.q, into.k, into.v);
    else
      plain_backward(dout, heads.q, heads.k, heads.v, positions, into.q, into.k, into.v);
    if (positions.kind == PositionEmbedding::kRope)
      rotate_(gradient, positions.rotary, positions.past, /*backward=*/true);
    return {gradient, {}};
  }
};

}  // namespace

void apply_rotary_(at::Tensor& qkv, const Positions& positions) {
  if (positions.kind != PositionEmbedding::kRope) return;
  if (positions.mode == AlibiMode::kOfficial) {
    for (int64_t third = 0; third < 2; ++third) {
      auto part = qkv.select(2, third);
      part.copy_(rotate_official(part, positions.rotary, positions.past));
    }
    return;
  }
  rotate_(qkv, positions.rotary, positions.past, /*backward=*/false);
}

at::Tensor self_attention(const at::Tensor& qkv, const Positions& positions) {
  TORCH_CHECK_VALUE(positions.past == 0, "self_attention: expected no earlier tokens, got ", positions.past);
  if (at::GradMode::is_enabled() && qkv.requires_grad())
    return SelfAttention::apply(qkv, c10::make_intrusive<PositionsHolder>(positions));
  at::Tensor rotated = qkv.detach();
  apply_rotary_(rotated, positions);
  const Heads heads = split_heads(rotated);
  return forward_heads(heads.q, heads.k, heads.v, positions).out.flatten(2);
}

at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Positions& positions) {
  return forward_heads(q, k, v, positions).out.flatten(2);
}

}  // namespace baichuan
