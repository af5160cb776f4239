#include "train/train_step.h"

#include <algorithm>
#include <cmath>

#include <torch/torch.h>

#include "core/error.h"
#include "distributed/process_group.h"
#include "kernels/linear_cross_entropy.h"
#include "lora/adapter.h"
#include "model/baichuan_for_causal_lm.h"

namespace baichuan {

namespace {

std::string sample_list(std::span<const Batch> batches) {
  std::vector<std::int64_t> ids;
  for (const auto& batch : batches) {
    const auto* const first = batch.sample_ids.const_data_ptr<std::int64_t>();
    ids.insert(ids.end(), first, first + batch.sample_ids.numel());
  }
  return fmt::format("{}", fmt::join(ids, ", "));
}

bool all_finite(const at::Tensor& tensor) {
  return at::isfinite(tensor).all().item<bool>();
}

}  // namespace

StepWork StepWork::of(std::span<const Batch> batches) {
  StepWork work{batches, std::ssize(batches), 0, 0};
  for (const auto& batch : batches) {
    work.target_tokens += batch.target_tokens;
    work.tokens += batch.tokens;
  }
  return work;
}

// What one rank tells the others of its part of a step.
struct TrainStep::Figures {
  struct MicroBatch {
    double loss_share = 0;  // of the step's loss
    double mean = 0;        // over its labelled tokens
  };
  std::vector<MicroBatch> micro_batches;
  std::string non_finite_loss;  // a whole message; empty: all are finite
  int stop_signal = 0;
};

TrainStep::TrainStep(BaichuanForCausalLM& model,
                     LoraAdapter* adapter,
                     Optimizer& optimizer,
                     const TrainStepSettings& settings,
                     ProcessGroup* group)
    : model_(model),
      adapter_(adapter),
      optimizer_(optimizer),
      settings_(settings),
      solo_(group == nullptr ? make_solo_group() : nullptr),
      group_(group == nullptr ? *solo_ : *group),
      loss_scale_(settings.loss_scale) {
  if (adapter_ != nullptr) adapter_->set_training(true);
}

TrainStep::~TrainStep() = default;

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

bool TrainStep::run(const StepWork& work,
                    std::int64_t step,
                    double learning_rate,
                    TrainStepResult& result,
                    const std::function<int()>& interrupt_signal) {
  result = {};
  result.target_tokens = work.target_tokens;
  result.tokens = work.tokens;
  const double loss_scale = settings_.scale_loss ? loss_scale_.scale() : 1;
  const std::int64_t ranks = group_.size();
  Figures own;
  optimizer_.zero_gradients();
  for (std::int64_t first = 0; first < work.micro_batches; first += ranks) {
    if (interrupt_signal && own.stop_signal == 0) own.stop_signal = interrupt_signal();
    if (own.stop_signal != 0 && ranks == 1) return false;
    const std::int64_t contributors = std::min(ranks, work.micro_batches - first);
    optimizer_.begin_micro_batch(contributors, /*last_of_step=*/first + ranks >= work.micro_batches);
    if (group_.rank() < contributors)
      run_micro_batch(work.own[static_cast<std::size_t>(first / ranks)], work, step, loss_scale, own);
    optimizer_.end_micro_batch();
  }
  optimizer_.finish_gradients();
  optimizer_.scale_gradients(1 / loss_scale);
  exchange(work, step, own, result);
  result.skipped = !result.non_finite.empty() || !std::isfinite(result.grad_norm);
  if (!result.non_finite.empty()) return true;
  if (result.skipped && !settings_.scale_loss) settle_non_finite_gradient(work, step, result);
  if (settings_.scale_loss) loss_scale_.update(result.skipped);
  if (result.skipped) return true;
  // torch.nn.utils.clip_grad_norm_'s factor, with its 1e-6.
  if (settings_.max_grad_norm > 0)
    optimizer_.scale_gradients(std::min(1.0, settings_.max_grad_norm / (result.grad_norm + 1e-6)));
  optimizer_.step(learning_rate);
  return true;
}

void TrainStep::run_micro_batch(
    const Batch& batch, const StepWork& work, std::int64_t step, double loss_scale, Figures& own) {
  // A micro-batch without labels adds nothing to either mean.
  const auto counted = static_cast<double>(std::max<std::int64_t>(batch.target_tokens, 1));
  const double divisor = settings_.normalization == LossNormalization::kToken
                             ? static_cast<double>(std::max<std::int64_t>(work.target_tokens, 1))
                             : counted * static_cast<double>(settings_.accumulation);
  if (adapter_ != nullptr) adapter_->set_dropout_key({settings_.seed, step, batch.sample_ids});
  const bool counts = batch.target_tokens > 0 && own.non_finite_loss.empty();
  const double sum = counts ? forward_backward(batch, loss_scale / divisor) : 0;
  if (!std::isfinite(sum)) own.non_finite_loss = describe_non_finite_loss(batch, step, sum);
  own.micro_batches.push_back({sum / divisor, sum / counted});
}

// One message from everybody to everybody: [bad loss, signal, (loss share, mean) of each micro-batch, squared norms].
void TrainStep::exchange(const StepWork& work, std::int64_t step, const Figures& own, TrainStepResult& result) {
  const std::int64_t ranks = group_.size();
  const std::int64_t rounds = (work.micro_batches + ranks - 1) / ranks;
  at::Tensor head = at::zeros({2 + 2 * rounds}, at::kDouble);
  auto values = head.accessor<double, 1>();
  values[0] = own.non_finite_loss.empty() ? 0 : 1;
  values[1] = own.stop_signal;
  for (std::size_t k = 0; k < own.micro_batches.size(); ++k) {
    values[2 + 2 * static_cast<std::int64_t>(k)] = own.micro_batches[k].loss_share;
    values[3 + 2 * static_cast<std::int64_t>(k)] = own.micro_batches[k].mean;
  }
  const at::Tensor all = group_.gather_numbers(at::cat({head, optimizer_.squared_norms(settings_.norm_by_block)}));
  const auto table = all.accessor<double, 2>();
  const bool stops = !settings_.skip_non_finite;
  if (stops && !own.non_finite_loss.empty()) throw TrainingError("{}", own.non_finite_loss);
  bool finite = true;
  for (std::int64_t r = 0; r < ranks; ++r) {
    finite = finite && table[r][0] == 0;
    if (stops && !finite)
      throw TrainingError(
          "step {}: expected a finite loss; rank {} found one that is not, see its own words; nothing was updated",
          step, r);
    result.stop_signal = std::max(result.stop_signal, static_cast<int>(table[r][1]));
  }
  if (!finite) result.non_finite = words_of_all(own.non_finite_loss);
  for (std::int64_t i = 0; i < work.micro_batches; ++i) {
    const std::int64_t at = 2 + 2 * (i / ranks);
    result.loss += table[i % ranks][at];
    result.micro_losses.push_back(table[i % ranks][at + 1]);
  }
  result.grad_norm = optimizer_.global_norm(all.narrow(1, head.numel(), all.size(1) - head.numel()));
}

// The first that a rank has to say.
std::string TrainStep::words_of_all(const std::string& own) {
  for (const auto& words : group_.gather_texts(own, "the account of a step that is not finite"))
    if (!words.empty()) return words;
  return {};
}

void TrainStep::settle_non_finite_gradient(const StepWork& work, std::int64_t step, TrainStepResult& result) {
  const std::string name = optimizer_.first_non_finite_gradient();
  const std::string account = fmt::format(
      "step {}: expected finite gradients; the gradient of {} is not (samples {}); nothing was updated; "
      "lower the learning rate or look at these rows with `baichuan preview`",
      step, name.empty() ? "a parameter that another rank holds" : name, sample_list(work.own));
  if (!settings_.skip_non_finite) throw TrainingError("{}", account);
  result.non_finite = words_of_all(name.empty() ? "" : account);
}

std::string TrainStep::describe_non_finite_loss(const Batch& batch, std::int64_t step, double loss) {
  torch::NoGradGuard no_grad;
  std::string first_bad = "the logits";
  if (!all_finite(model_.hidden_states(batch.ids))) first_bad = "the hidden states after the last layer";
  for (const auto& named : model_.named_parameters()) {
    if (all_finite(named.value())) continue;
    first_bad = "weight " + named.key();
    break;
  }
  return fmt::format(
      "step {}: expected a finite loss; found {} for samples {}, first bad tensor: {}; nothing was updated; "
      "check these rows with `baichuan preview`, lower the learning rate or use --bf16",
      step, std::isnan(loss) ? std::abs(loss) : loss, sample_list({&batch, 1}), first_bad);  // no "-nan"
}

}  // namespace baichuan
