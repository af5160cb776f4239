#include "train/optimizer.h"

#include <cmath>
#include <functional>
#include <numeric>

#include <torch/torch.h>

#include "distributed/sharded_parameters.h"

namespace baichuan {

namespace {

// Norm weights and biases; Baichuan has no biases, adapters of other tools may.
bool is_norm_or_bias(const std::string& name) {
  return name.find("norm") != std::string::npos || name.ends_with(".bias");
}

std::vector<at::Tensor> pick(const std::vector<TrainedParameter>& parameters,
                             const std::vector<std::size_t>& group,
                             at::Tensor TrainedParameter::*member) {
  std::vector<at::Tensor> tensors;
  for (const std::size_t i : group) tensors.push_back(parameters[i].*member);
  return tensors;
}

}  // namespace

std::int64_t TrainedParameter::whole_elements() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

Optimizer::Optimizer(std::vector<std::pair<std::string, at::Tensor>> parameters, const OptimizerSettings& settings)
    : settings_(settings) {
  torch::NoGradGuard no_grad;
  for (const auto& [name, parameter] : parameters) {
    TrainedParameter trained;
    trained.name = name;
    trained.value = parameter.detach();
    trained.master = trained.value.to(at::kFloat);
    trained.gradient = at::zeros_like(trained.master);
    trained.shape = parameter.sizes().vec();
    trained.saved_count = parameter.numel();
    add_parameter(std::move(trained));
    leaves_.push_back(parameter);
  }
  zero_gradients();
}

Optimizer::Optimizer(ShardedParameters& sharded, const OptimizerSettings& settings)
    : settings_(settings), sharded_(&sharded) {
  for (const auto& slice : sharded.slices()) {
    TrainedParameter trained;
    trained.name = slice.name;
    trained.value = slice.value;
    trained.master = slice.master;
    trained.gradient = slice.gradient;
    trained.shape = slice.shape;
    trained.first = slice.first;
    trained.saved_first = slice.saved_first;
    trained.saved_count = slice.saved_count;
    add_parameter(std::move(trained));
  }
}

void Optimizer::add_parameter(TrainedParameter trained) {
  trained.exp_avg = at::zeros_like(trained.master);
  trained.exp_avg_sq = at::zeros_like(trained.master);
  trained.decays = settings_.decay_norms ? !trained.name.ends_with(".bias") : !is_norm_or_bias(trained.name);
  parameters_.push_back(std::move(trained));
}

void Optimizer::zero_gradients() {
  if (sharded_ != nullptr) {
    sharded_->zero_gradients();
    return;
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    parameters_[i].gradient.zero_();
    // A float32 gradient on a 16-bit leaf: autograd adds to it in float32.
    leaves_[i].mutable_grad() = parameters_[i].gradient;
  }
}

void Optimizer::begin_micro_batch(std::int64_t contributors, bool last_of_step) {
  if (sharded_ != nullptr) sharded_->begin_micro_batch({contributors, last_of_step});
}

void Optimizer::end_micro_batch() {
  if (sharded_ != nullptr) sharded_->end_micro_batch();
}

void Optimizer::finish_gradients() {
  if (sharded_ != nullptr) sharded_->finish_gradients();
}

at::Tensor Optimizer::squared_norms(bool by_block) const {
  if (sharded_ != nullptr) {
    const at::Tensor blocks = sharded_->squared_sums_by_block();
    return by_block ? blocks : blocks.sum().view({1});
  }
  double sum = 0;
  for (const auto& trained : parameters_) {
    const double norm = at::linalg_vector_norm(trained.gradient, 2, {}, false, at::kDouble).item<double>();
    sum += norm * norm;
  }
  return at::full({1}, sum, at::kDouble);
}

double Optimizer::global_norm(const at::Tensor& squared_norms_of_ranks) const {
  const bool by_block = squared_norms_of_ranks.size(1) > 1;
  if (by_block) return std::sqrt(sharded_->sum_in_order(squared_norms_of_ranks));
  double sum = 0;
  for (std::int64_t r = 0; r < squared_norms_of_ranks.size(0); ++r) sum += squared_norms_of_ranks[r][0].item<double>();
  return std::sqrt(sum);
}

void Optimizer::scale_gradients(double factor) {
  if (factor == 1 || parameters_.empty()) return;  // a rank may hold nothing of a small model
  std::vector<at::Tensor> gradients;
  for (const auto& trained : parameters_) gradients.push_back(trained.gradient);
  at::_foreach_mul_(gradients, factor);
}

std::string Optimizer::first_non_finite_gradient() const {
  for (const auto& trained : parameters_)
    if (!at::isfinite(trained.gradient).all().item<bool>()) return trained.name;
  return {};
}

void Optimizer::step(double learning_rate) {
  torch::NoGradGuard no_grad;
  wait_for_values();  // of the update before: they must not arrive on top of this one
  ++steps_;
  for (const bool decays : {true, false}) {
    std::vector<std::size_t> group;
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      if (parameters_[i].decays == decays) group.push_back(i);
    if (group.empty()) continue;
    const double weight_decay = decays ? settings_.weight_decay : 0;
    if (settings_.hf_variant)
      step_hf(group, learning_rate, weight_decay);
    else
      step_torch(group, learning_rate, weight_decay);
  }
  copy_masters_to_parameters();
}

void Optimizer::step_torch(const std::vector<std::size_t>& group, double learning_rate, double weight_decay) {
  const auto masters = pick(parameters_, group, &TrainedParameter::master);
  const auto step = at::full({}, static_cast<double>(steps_), masters.front().options());
  at::_fused_adamw_(masters, pick(parameters_, group, &TrainedParameter::gradient),
                    pick(parameters_, group, &TrainedParameter::exp_avg),
                    pick(parameters_, group, &TrainedParameter::exp_avg_sq), {},
                    std::vector<at::Tensor>(group.size(), step), learning_rate, settings_.beta1, settings_.beta2,
                    weight_decay, settings_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
}

// transformers 4.31, optimization.py, AdamW.step: the same moments, but epsilon joins before the bias correction
// and the decay is taken off the updated weight.
void Optimizer::step_hf(const std::vector<std::size_t>& group, double learning_rate, double weight_decay) {
  const double t = static_cast<double>(steps_);
  const double step_size =
      learning_rate * std::sqrt(1 - std::pow(settings_.beta2, t)) / (1 - std::pow(settings_.beta1, t));
  for (const std::size_t i : group) {
    auto& p = parameters_[i];
    p.exp_avg.mul_(settings_.beta1).add_(p.gradient, 1 - settings_.beta1);
    p.exp_avg_sq.mul_(settings_.beta2).addcmul_(p.gradient, p.gradient, 1 - settings_.beta2);
    p.master.addcdiv_(p.exp_avg, p.exp_avg_sq.sqrt().add_(settings_.epsilon), -step_size);
    if (weight_decay > 0) p.master.add_(p.master, -learning_rate * weight_decay);
  }
}

std::int64_t Optimizer::trained_elements() const {
  if (sharded_ != nullptr) return sharded_->elements();
  std::int64_t elements = 0;
  for (const auto& trained : parameters_) elements += trained.whole_elements();
  return elements;
}

void Optimizer::copy_masters_to_parameters() {
  torch::NoGradGuard no_grad;
  for (auto& trained : parameters_)
    if (trained.value.scalar_type() != at::kFloat) trained.value.copy_(trained.master);
  if (sharded_ != nullptr) sharded_->publish();
}

void Optimizer::visit_masters(
    const std::function<void(const std::string& name, const at::Tensor& master)>& visit) const {
  if (sharded_ == nullptr) {
    for (const auto& trained : parameters_) visit(trained.name, trained.master);
    return;
  }
  for (std::size_t u = 0; u < sharded_->unit_count(); ++u) {
    const auto masters = sharded_->gather_masters(u);
    for (std::size_t i = 0; i < masters.size(); ++i) visit(sharded_->unit(u).parameters[i].first, masters[i]);
  }
}

void Optimizer::wait_for_values() const {
  if (sharded_ != nullptr) sharded_->wait_for_all();
}

}  // namespace baichuan
