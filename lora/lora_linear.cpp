#include "lora/lora_linear.h"

#include <torch/torch.h>

#include "kernels/counter_dropout.h"

namespace baichuan {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct LoraCall : torch::CustomClassHolder {
  at::Tensor weight;  // of a frozen base, no gradient; undefined: the adapter's part alone is wanted
  double scaling = 1;
  DropoutMask mask;
};

at::Tensor as_rows(const at::Tensor& t) {
  return t.reshape({-1, t.size(-1)});
}

// The products with a side of `rank` are made as [rank, tokens], long rows: with the rank as the row length the same
// products take two to seven times as long.

// [rank, tokens]
at::Tensor project_down(const at::Tensor& x, const at::Tensor& a, const LoraCall& call) {
  return at::mm(a.to(x.scalar_type()), as_rows(counter_dropout(x, call.mask)).t());
}

// y += scaling * (B low)^T; y is the caller's own.
void add_projected_up(at::Tensor& y, const at::Tensor& low, const at::Tensor& b, double scaling) {
  y.view({-1, y.size(-1)}).addmm_(low.t(), b.to(y.scalar_type()).t(), /*beta=*/1, scaling);
}

class LoraFunction : public torch::autograd::Function<LoraFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx,
                            const at::Tensor& x,
                            const at::Tensor& a,
                            const at::Tensor& b,
                            const c10::intrusive_ptr<LoraCall>& call) {
    at::Tensor y;
    if (call->weight.defined()) {
      y = linear_in_dtype_of(x, call->weight);
    } else {
      auto sizes = x.sizes().vec();
      sizes.back() = b.size(0);
      y = at::zeros(sizes, x.options());
    }
    const at::Tensor low = project_down(x, a, *call);
    add_projected_up(y, low, b, call->scaling);
    const bool trains = a.requires_grad() || b.requires_grad();
    ctx->save_for_backward({trains ? x : at::Tensor(), a, b, trains ? low : at::Tensor()});
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    ctx->saved_data["sizes"] = x.sizes().vec();
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &a = saved[1], &b = saved[2], &low = saved[3];
    const auto capsule = ctx->saved_data["call"].toCapsule();
    const auto& call = static_cast<const LoraCall&>(*capsule);
    const at::Tensor dy = as_rows(grads[0]);
    const at::Tensor dlow = at::mm(b.to(dy.scalar_type()).t(), dy.t()).mul_(call.scaling);  // [rank, tokens]
    at::Tensor dx, da, db;
    if (low.defined()) {
      db = at::mm(low, dy).to(b.scalar_type()).mul_(call.scaling).t().contiguous();
      da = at::mm(dlow, as_rows(counter_dropout(x, call.mask))).to(a.scalar_type());
    }
    if (ctx->needs_input_grad(0)) {
      const at::Tensor down = a.to(dy.scalar_type());
      const auto sizes = ctx->saved_data["sizes"].toIntVector();
      if (call.weight.defined()) dx = at::mm(dy, call.weight.to(dy.scalar_type()));
      if (call.mask.p == 0) {
        dx = (dx.defined() ? dx.addmm_(dlow.t(), down) : at::mm(dlow.t(), down)).view(sizes);
      } else if (dx.defined()) {
        dx = dx.view(sizes);
        add_counter_dropout_(dx, at::mm(dlow.t(), down).view(sizes), call.mask);
      } else {
        dx = counter_dropout(at::mm(dlow.t(), down).view(sizes), call.mask);
      }
    }
    return {dx, da, db, {}};
  }
};

}  // namespace

LoraLinear::LoraLinear(std::shared_ptr<Projection> base_projection,
                       std::int64_t rank,
                       double scaling,
                       double dropout,
                       std::int64_t number,
                       std::shared_ptr<const LoraState> state)
    : scaling_(scaling), dropout_(dropout), number_(number), state_(std::move(state)) {
  base = register_module("base", std::move(base_projection));
  at::TensorOptions options = at::kFloat;
  if (const auto parameters = base->parameters(); !parameters.empty()) options = options.device(parameters[0].device());
  lora_A = register_parameter("lora_A", at::zeros({rank, base->in_features()}, options));
  lora_B = register_parameter("lora_B", at::zeros({base->out_features(), rank}, options));
}

at::Tensor LoraLinear::forward(const at::Tensor& x) {
  if (!state_->enabled) return base->forward(x);
  auto call = c10::make_intrusive<LoraCall>();
  call->scaling = scaling_;
  if (state_->training && dropout_ > 0)
    call->mask = {dropout_, state_->key.seed, state_->key.step, state_->key.sample_ids, number_};

  const auto* const dense = dynamic_cast<const DenseProjection*>(base.get());
  const bool tracked =
      at::GradMode::is_enabled() && (x.requires_grad() || lora_A.requires_grad() || lora_B.requires_grad());
  if (tracked) {
    const bool frozen = dense != nullptr && !dense->weight.requires_grad();
    if (frozen) call->weight = dense->weight;
    const at::Tensor y = LoraFunction::apply(x, lora_A, lora_B, call);
    return frozen ? y : base->forward(x) + y;
  }
  // The same operations in the same order as the tracked path: recomputed activations are the same bits.
  at::Tensor y = base->forward(x);
  add_projected_up(y, project_down(x, lora_A, *call), lora_B, scaling_);
  return y;
}

at::Tensor LoraLinear::delta_rows(std::int64_t first, std::int64_t count) const {
  const at::NoGradGuard no_grad;
  return at::mm(lora_B.narrow(0, first, count), lora_A).mul_(scaling_);
}

}  // namespace baichuan
