#include "train/train_step.h"

#include <algorithm>
#include <cmath>

#include <torch/torch.h>

#include "core/error.h"
#include "kernels/linear_cross_entropy.h"
#include "lora/adapter.h"
#include "model/baichuan_for_causal_lm.h"

namespace baichuan {

namespace {

std::string sample_list(const Batch& batch) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(batch.sample_ids.numel()));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = batch.sample_ids.const_data_ptr<std::int64_t>()[i];
  return fmt::format("{}", fmt::join(ids, ", "));
}

bool all_finite(const at::Tensor& tensor) {
  return at::isfinite(tensor).all().item<bool>();
}

}  // namespace

TrainStep::TrainStep(BaichuanForCausalLM& model,
                     LoraAdapter* adapter,
                     Optimizer& optimizer,
                     const TrainStepSettings& settings)
    : model_(model), adapter_(adapter), optimizer_(optimizer), settings_(settings), loss_scale_(settings.loss_scale) {
  if (adapter_ != nullptr) adapter_->set_training(true);
}

// Returns the sum of the losses; gradients of gradient_scale times that sum are added to the optimiser's.
double TrainStep::forward_backward(const Batch& batch, double gradient_scale) {
  const auto hidden = model_.hidden_states(batch.ids);
  const auto loss =
      linear_cross_entropy(hidden.flatten(0, 1), model_.head_weight(), batch.targets.flatten(), gradient_scale);
  const double value = loss.item<double>();
  if (std::isfinite(value)) loss.backward();
  return value;
}

double TrainStep::evaluate(const Batch& batch) {
  torch::NoGradGuard no_grad;
  if (adapter_ != nullptr) adapter_->set_training(false);
  const auto hidden = model_.hidden_states(batch.ids);
  const auto losses = linear_cross_entropy_rows(hidden, model_.head_weight(), batch.targets);
  if (adapter_ != nullptr) adapter_->set_training(true);
  return losses.sum(at::kDouble).item<double>();
}

bool TrainStep::run(std::span<const Batch> batches,
                    std::int64_t step,
                    double learning_rate,
                    TrainStepResult& result,
                    const std::function<bool()>& interrupted) {
  result = {};
  for (const auto& batch : batches) {
    result.target_tokens += batch.target_tokens;
    result.tokens += batch.tokens;
  }
  const double loss_scale = settings_.scale_loss ? loss_scale_.scale() : 1;
  optimizer_.zero_gradients();
  for (const auto& batch : batches) {
    if (interrupted && interrupted()) return false;
    // A micro-batch without labels adds nothing to either mean.
    const auto counted = static_cast<double>(std::max<std::int64_t>(batch.target_tokens, 1));
    const double divisor = settings_.normalization == LossNormalization::kToken
                               ? static_cast<double>(std::max<std::int64_t>(result.target_tokens, 1))
                               : counted * static_cast<double>(settings_.accumulation);
    if (adapter_ != nullptr) adapter_->set_dropout_key({settings_.seed, step, batch.sample_ids});
    const double sum = batch.target_tokens == 0 ? 0 : forward_backward(batch, loss_scale / divisor);
    if (!std::isfinite(sum)) report_non_finite_loss(batch, step, sum);
    result.micro_losses.push_back(sum / counted);
    result.loss += sum / divisor;
  }
  optimizer_.scale_gradients(1 / loss_scale);
  result.grad_norm = optimizer_.gradient_norm();
  if (!std::isfinite(result.grad_norm)) {
    result.skipped = true;
    if (!settings_.scale_loss)
      throw TrainingError(
          "step {}: expected finite gradients; the gradient of {} is not (samples {}); nothing was updated; "
          "lower the learning rate or look at these rows with `baichuan preview`",
          step, optimizer_.first_non_finite_gradient(), sample_list(batches.back()));
  }
  if (settings_.scale_loss) loss_scale_.update(result.skipped);
  if (result.skipped) return true;
  // torch.nn.utils.clip_grad_norm_'s factor, with its 1e-6.
  if (settings_.max_grad_norm > 0)
    optimizer_.scale_gradients(std::min(1.0, settings_.max_grad_norm / (result.grad_norm + 1e-6)));
  optimizer_.step(learning_rate);
  return true;
}

void TrainStep::report_non_finite_loss(const Batch& batch, std::int64_t step, double loss) {
  torch::NoGradGuard no_grad;
  std::string first_bad = "the logits";
  if (!all_finite(model_.hidden_states(batch.ids))) first_bad = "the hidden states after the last layer";
  for (const auto& named : model_.named_parameters()) {
    if (all_finite(named.value())) continue;
    first_bad = "weight " + named.key();
    break;
  }
  throw TrainingError(
      "step {}: expected a finite loss; found {} for samples {}, first bad tensor: {}; nothing was updated; "
      "check these rows with `baichuan preview`, lower the learning rate or use --bf16",
      step, loss, sample_list(batch), first_bad);
}

}  // namespace baichuan
