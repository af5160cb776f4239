// AdamW over float32 masters (Loshchilov & Hutter 2019, algorithm 2), and the variant of transformers 4.31.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace baichuan {

struct OptimizerSettings {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool hf_variant = false;   // adamw_hf: epsilon before the bias correction, decay after the update
  bool decay_norms = false;  // 2023: Baichuan's own norm class was not recognised, so its weights decayed
};

// One trained tensor. `parameter` is the leaf that the model computes with; `master` is float32 and the same tensor
// where the parameter is float32. `gradient` is float32 and is what autograd accumulates into.
struct TrainedParameter {
  std::string name;
  at::Tensor parameter;
  at::Tensor master;
  at::Tensor gradient;
  at::Tensor exp_avg;
  at::Tensor exp_avg_sq;
  bool decays = true;
};

class Optimizer {
 public:
  Optimizer(std::vector<std::pair<std::string, at::Tensor>> parameters, const OptimizerSettings& settings);

  // Gradients to zero, and hung onto the parameters for autograd to add to.
  void zero_gradients();
  // Global L2 norm in float64; the gradients were divided by `scale` of it by the caller or not at all.
  double gradient_norm() const;
  // Multiplies every gradient (unscaling and clipping in one pass).
  void scale_gradients(double factor);
  void step(double learning_rate);

  // Name of the first gradient that holds a NaN or an infinity; empty when all are finite.
  std::string first_non_finite_gradient() const;

  const std::vector<TrainedParameter>& parameters() const { return parameters_; }
  std::int64_t trained_elements() const;
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }
  // After masters were changed from outside (a checkpoint, the best weights).
  void copy_masters_to_parameters();

 private:
  void step_torch(const std::vector<std::size_t>& group, double learning_rate, double weight_decay);
  void step_hf(const std::vector<std::size_t>& group, double learning_rate, double weight_decay);

  OptimizerSettings settings_;
  std::vector<TrainedParameter> parameters_;
  std::int64_t steps_ = 0;
};

}  // namespace baichuan
