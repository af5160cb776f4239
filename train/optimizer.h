// AdamW over float32 masters (Loshchilov & Hutter 2019, algorithm 2), and the variant of transformers 4.31. One rank
// updates whole parameters; of several, each updates its slices (distributed/sharded_parameters.h).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace baichuan {

class ShardedParameters;

struct OptimizerSettings {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool hf_variant = false;   // adamw_hf: epsilon before the bias correction, decay after the update
  bool decay_norms = false;  // 2023: Baichuan's own norm class was not recognised, so its weights decayed
};

// One trained tensor, or this rank's slice of one (flat then). `value` is what the model computes with; `master` is
// float32 and the same memory where the value is float32. `gradient` is float32.
struct TrainedParameter {
  std::string name;
  at::Tensor value;
  at::Tensor master;
  at::Tensor gradient;
  at::Tensor exp_avg;
  at::Tensor exp_avg_sq;
  bool decays = true;

  std::vector<std::int64_t> shape;  // of the whole parameter
  std::int64_t first = 0;           // element of it that the tensors begin with
  // Elements of the whole parameter that this rank saves.
  std::int64_t saved_first = 0;
  std::int64_t saved_count = 0;

  std::int64_t whole_elements() const;
};

class Optimizer {
 public:
  Optimizer(std::vector<std::pair<std::string, at::Tensor>> parameters, const OptimizerSettings& settings);
  // `sharded` must outlive the object.
  Optimizer(ShardedParameters& sharded, const OptimizerSettings& settings);

  // Gradients to zero, and, with one rank, hung onto the parameters for autograd to add to.
  void zero_gradients();
  // Around the backward pass of each micro-batch, of which the first `contributors` ranks have one.
  void begin_micro_batch(std::int64_t contributors, bool last_of_step);
  void end_micro_batch();
  // After the last: the gradients are then sums over all ranks.
  void finish_gradients();
  // Multiplies every gradient (unscaling and clipping in one pass).
  void scale_gradients(double factor);
  // This rank's part of the squared global L2 norm, float64 on the CPU. One number; with `by_block`, of a sharded
  // optimiser, one for each block of elements (add_squared_norms).
  at::Tensor squared_norms(bool by_block) const;
  // The global norm from everybody's squared_norms() [ranks, n], added in the order of the units and their elements,
  // which is the same for any number of ranks.
  double global_norm(const at::Tensor& squared_norms_of_ranks) const;
  void step(double learning_rate);

  // Name of the first gradient of this rank that holds a NaN or an infinity; empty when all are finite.
  std::string first_non_finite_gradient() const;

  const std::vector<TrainedParameter>& parameters() const { return parameters_; }
  std::int64_t trained_elements() const;  // over all ranks
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }
  // After masters were changed from outside (a checkpoint, the best weights).
  void copy_masters_to_parameters();
  // Each whole master in turn, in the model's order; a collective where they are divided.
  void visit_masters(const std::function<void(const std::string& name, const at::Tensor& master)>& visit) const;
  // Values of all ranks have arrived everywhere.
  void wait_for_values() const;

 private:
  void add_parameter(TrainedParameter trained);
  void step_torch(const std::vector<std::size_t>& group, double learning_rate, double weight_decay);
  void step_hf(const std::vector<std::size_t>& group, double learning_rate, double weight_decay);

  OptimizerSettings settings_;
  ShardedParameters* sharded_ = nullptr;  // null: one rank, whole parameters
  std::vector<TrainedParameter> parameters_;
  std::vector<at::Tensor> leaves_;  // of whole parameters, in the same order
  std::int64_t steps_ = 0;
};

}  // namespace baichuan
