#include "kernels/linear_cross_entropy.h"

#include <algorithm>

#include <torch/torch.h>

#include "kernels/cpu/select.h"
#include "kernels/cuda_plugin.h"

namespace baichuan {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// 1,024 rows of Baichuan's 64,000 logits: more make the products no faster, fewer do make them slower.
constexpr std::int64_t kChunkLogits = std::int64_t{64} << 20;

// Chunks of equal size (but for the last), as few as fit the memory.
std::int64_t rows_a_chunk(std::int64_t rows, std::int64_t vocabulary) {
  const std::int64_t most = std::max<std::int64_t>(16, kChunkLogits / vocabulary);
  const std::int64_t chunks = (rows + most - 1) / most;
  return (rows + chunks - 1) / chunks;
}

// losses[n] (float32) of logits [n, V] and, if asked, their gradient in place.
void loss_of_rows(
    const at::Tensor& losses, const at::Tensor& logits, const at::Tensor& labels, double scale, bool write_gradient) {
  const std::int64_t vocabulary = logits.size(1);
  if (const auto* const kernels = cpu::fused_kernels({&logits})) {
    auto* const loss = losses.mutable_data_ptr<float>();
    const auto* const label = labels.const_data_ptr<std::int64_t>();
    cpu::for_rows(logits.size(0), vocabulary, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r)
        loss[r] = kernels->cross_entropy(cpu::mutable_row_of(logits, r, vocabulary), vocabulary, label[r],
                                         static_cast<float>(scale), write_gradient);
    });
    return;
  }
  if (const auto* const on_gpu = cuda_kernels_for({&logits})) {
    on_gpu->cross_entropy(losses, logits, labels, scale, write_gradient);
    return;
  }
  auto log_probabilities = at::log_softmax(logits, -1, logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  const auto index = labels.unsqueeze(1);
  losses.copy_(log_probabilities.gather(1, index).squeeze(1).neg_());
  if (!write_gradient) return;
  auto gradient = log_probabilities.exp_().mul_(scale);
  gradient.scatter_add_(1, index, at::full({1, 1}, -scale, gradient.options()).expand_as(index));
  logits.copy_(gradient);
}

// The rows that have a label: all (then nothing is copied) or some.
struct Labelled {
  at::Tensor index;   // int64 [n]; undefined when every row has a label
  at::Tensor hidden;  // [n, D]
  at::Tensor labels;  // [n]
};

Labelled select_labelled(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels) {
  TORCH_CHECK_VALUE(hidden.dim() >= 1 && weight.dim() == 2 && hidden.size(-1) == weight.size(1) &&
                        labels.sizes() == hidden.sizes().slice(0, hidden.dim() - 1),
                    "linear_cross_entropy: expected hidden [..., D], weight [V, D] and labels [...], got ",
                    hidden.sizes(), ", ", weight.sizes(), " and ", labels.sizes());
  TORCH_CHECK_VALUE(labels.scalar_type() == at::kLong, "linear_cross_entropy: labels must be int64, got ",
                    labels.scalar_type());
  Labelled rows{{}, hidden.reshape({-1, hidden.size(-1)}), labels.reshape({-1}).contiguous()};
  const at::Tensor index = (rows.labels != kIgnoreLabel).nonzero().squeeze(1);
  if (index.numel() != rows.labels.numel()) {
    rows.index = index;
    rows.hidden = rows.hidden.index_select(0, index);
    rows.labels = rows.labels.index_select(0, index);
  } else {
    rows.hidden = rows.hidden.contiguous();
  }
  if (rows.labels.is_cpu() && rows.labels.numel() > 0) {
    const auto [low, high] = rows.labels.aminmax();
    TORCH_CHECK_VALUE(low.item<std::int64_t>() >= 0 && high.item<std::int64_t>() < weight.size(0),
                      "linear_cross_entropy: labels must be ", kIgnoreLabel, " or from 0 to ", weight.size(0) - 1,
                      ", got ", low.item<std::int64_t>(), " to ", high.item<std::int64_t>());
  }
  return rows;
}

// dweight (+)= dlogits^T hidden, in dweight's wider type.
void add_product(at::Tensor& dweight, const at::Tensor& dlogits, const at::Tensor& hidden, bool first) {
  if (dweight.scalar_type() != hidden.scalar_type()) {
    const at::Tensor product = at::mm(dlogits.t(), hidden);
    first ? dweight.copy_(product) : dweight.add_(product);
  } else if (first) {
    at::mm_out(dweight, dlogits.t(), hidden);
  } else {
    dweight.addmm_(dlogits.t(), hidden);
  }
}

struct Result {
  at::Tensor losses;   // [n] float32 (float64 for float64)
  at::Tensor dhidden;  // [n, D]
  at::Tensor dweight;  // [V, D] float32
};

Result run_chunks(
    const Labelled& rows, const at::Tensor& stored_weight, double scale, bool wants_hidden, bool wants_weight) {
  const at::Tensor weight = stored_weight.to(rows.hidden.scalar_type());
  const std::int64_t n = rows.hidden.size(0);
  const auto wide = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Result result{at::empty({n}, weight.options().dtype(wide)), {}, {}};
  if (wants_hidden) result.dhidden = at::empty_like(rows.hidden);
  if (wants_weight) result.dweight = at::empty(weight.sizes(), weight.options().dtype(wide));
  if (n == 0) {
    if (wants_weight) result.dweight.zero_();
    return result;
  }
  const std::int64_t chunk = rows_a_chunk(n, weight.size(0));
  const at::Tensor buffer = at::empty({chunk, weight.size(0)}, weight.options());
  for (std::int64_t begin = 0; begin < n; begin += chunk) {
    const std::int64_t length = std::min(chunk, n - begin);
    const at::Tensor hidden = rows.hidden.narrow(0, begin, length);
    at::Tensor logits = buffer.narrow(0, 0, length);
    at::mm_out(logits, hidden, weight.t());
    loss_of_rows(result.losses.narrow(0, begin, length), logits, rows.labels.narrow(0, begin, length), scale,
                 wants_hidden || wants_weight);
    if (wants_hidden) {
      at::Tensor dhidden = result.dhidden.narrow(0, begin, length);
      at::mm_out(dhidden, logits, weight);
    }
    if (wants_weight) add_product(result.dweight, logits, hidden, /*first=*/begin == 0);
  }
  return result;
}

// Spreads [n, C] rows over all rows of the batch, zero elsewhere.
at::Tensor spread(const at::Tensor& values, const at::Tensor& index, at::IntArrayRef sizes) {
  if (!index.defined()) return values.view(sizes);
  at::Tensor all = at::zeros(sizes, values.options());
  all.view({-1, values.size(1)}).index_copy_(0, index, values);
  return all;
}

class LinearCrossEntropyFunction : public torch::autograd::Function<LinearCrossEntropyFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx,
                            const at::Tensor& hidden,
                            const at::Tensor& weight,
                            const at::Tensor& labels,
                            double scale) {
    const Labelled rows = select_labelled(hidden, weight, labels);
    Result result = run_chunks(rows, weight, scale, hidden.requires_grad(), weight.requires_grad());
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["sizes"] = hidden.sizes().vec();
    if (result.dweight.defined()) result.dweight = result.dweight.to(weight.scalar_type());
    ctx->save_for_backward({result.dhidden, result.dweight, rows.index});
    return result.losses.sum(at::kDouble);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    at::Tensor dhidden = saved[0];
    at::Tensor dweight = saved[1];
    const at::Tensor& incoming = grads[0];
    // On a GPU the product is cheaper than waiting for the value.
    if (!incoming.is_cpu() || incoming.item<double>() != 1.0) {
      if (dhidden.defined()) dhidden = dhidden * incoming.to(dhidden.scalar_type());
      if (dweight.defined()) dweight = dweight * incoming.to(dweight.scalar_type());
    }
    if (dhidden.defined()) dhidden = spread(dhidden, saved[2], ctx->saved_data["sizes"].toIntVector());
    return {dhidden, dweight, {}, {}};
  }
};

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& hidden,
                                const at::Tensor& weight,
                                const at::Tensor& labels,
                                double scale) {
  if (at::GradMode::is_enabled() && (hidden.requires_grad() || weight.requires_grad()))
    return LinearCrossEntropyFunction::apply(hidden, weight, labels, scale);
  return run_chunks(select_labelled(hidden, weight, labels), weight, scale, false, false).losses.sum(at::kDouble);
}

at::Tensor linear_cross_entropy_rows(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels) {
  const at::NoGradGuard no_grad;
  const Labelled rows = select_labelled(hidden, weight, labels);
  const at::Tensor losses = run_chunks(rows, weight, 1.0, false, false).losses;
  return spread(losses.unsqueeze(1), rows.index, {labels.numel(), 1}).view(labels.sizes());
}

at::Tensor linear_cross_entropy_reference(const at::Tensor& hidden,
                                          const at::Tensor& weight,
                                          const at::Tensor& labels) {
  const auto wide = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor logits = at::matmul(hidden, weight.t()).to(wide).view({-1, weight.size(0)});
  return at::cross_entropy_loss(logits, labels.reshape({-1}), {}, at::Reduction::Sum, kIgnoreLabel).to(at::kDouble);
}

}  // namespace baichuan
