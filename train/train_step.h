// One optimiser step: forward and backward over its micro-batches, unscaling, clipping, update.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "train/batch.h"
#include "train/loss_scale.h"
#include "train/optimizer.h"

namespace baichuan {

class BaichuanForCausalLM;
class LoraAdapter;

enum class LossNormalization {
  kToken,       // mean over all labelled tokens of the step
  kMicroBatch,  // mean of the micro-batches' means (the stack of 2023)
};

struct TrainStepSettings {
  LossNormalization normalization = LossNormalization::kToken;
  std::int64_t accumulation = 1;  // kMicroBatch divides by it even where a step is shorter
  double max_grad_norm = 1;       // 0: no clipping
  std::uint64_t seed = 42;        // of the dropout
  bool scale_loss = false;        // float16
  LossScaleOptions loss_scale;
};

struct TrainStepResult {
  double loss = 0;
  double grad_norm = 0;  // before clipping
  std::int64_t target_tokens = 0;
  std::int64_t tokens = 0;
  bool skipped = false;              // gradients overflowed in float16: no update, the scale is lowered
  std::vector<double> micro_losses;  // token means
};

class TrainStep {
 public:
  // `adapter` is null for full fine-tuning. The references must outlive the object.
  TrainStep(BaichuanForCausalLM& model, LoraAdapter* adapter, Optimizer& optimizer, const TrainStepSettings& settings);

  // `step` counts from 1 and keys the dropout. `interrupted` is asked before each micro-batch; when it says so, run()
  // returns false and nothing has changed. Throws TrainingError, before the update, when the loss or a gradient is not
  // finite: it names the step, the samples and the first bad tensor.
  bool run(std::span<const Batch> batches,
           std::int64_t step,
           double learning_rate,
           TrainStepResult& result,
           const std::function<bool()>& interrupted = {});

  // Sum of the losses of a batch without gradients; the model's own evaluation of it.
  double evaluate(const Batch& batch);

  LossScale& loss_scale() { return loss_scale_; }

 private:
  double forward_backward(const Batch& batch, double gradient_scale);
  [[noreturn]] void report_non_finite_loss(const Batch& batch, std::int64_t step, double loss);

  BaichuanForCausalLM& model_;
  LoraAdapter* adapter_;
  Optimizer& optimizer_;
  TrainStepSettings settings_;
  LossScale loss_scale_;
};

}  // namespace baichuan
