#include "model/recompute.h"

#include <torch/torch.h>

namespace baichuan {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using Run = std::function<at::Tensor(const at::Tensor&)>;

struct RunHolder : torch::CustomClassHolder {
  explicit RunHolder(Run r) : run(std::move(r)) {}
  Run run;
};

class Recompute : public torch::autograd::Function<Recompute> {
 public:
  // `anchor` requires gradients and gets none: the result must require them even where x does not, because the
  // parameters inside `run` may (the first layer under LoRA).
  static at::Tensor forward(AutogradContext* ctx,
                            const at::Tensor& x,
                            const at::Tensor& /*anchor*/,
                            const c10::intrusive_ptr<RunHolder>& holder) {
    ctx->save_for_backward({x});
    ctx->saved_data["run"] = c10::IValue::make_capsule(holder);
    ctx->saved_data["x_requires_grad"] = x.requires_grad();
    return holder->run(x);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto capsule = ctx->saved_data["run"].toCapsule();
    const Run& run = static_cast<const RunHolder&>(*capsule).run;
    const bool wants_x = ctx->saved_data["x_requires_grad"].toBool();
    const at::Tensor x = ctx->get_saved_variables()[0].detach().requires_grad_(wants_x);
    at::Tensor y;
    {
      const at::AutoGradMode with_gradients(true);
      y = run(x);
    }
    torch::autograd::backward({y}, {grads[0]});
    return {wants_x ? x.grad() : at::Tensor(), {}, {}};
  }
};

}  // namespace

at::Tensor recomputed(Run run, const at::Tensor& x) {
  if (!at::GradMode::is_enabled()) return run(x);
  const auto anchor = at::empty({0}, x.options()).requires_grad_(true);
  return Recompute::apply(x, anchor, c10::make_intrusive<RunHolder>(std::move(run)));
}

}  // namespace baichuan
