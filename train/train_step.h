// One optimiser step: forward and backward over its micro-batches, unscaling, clipping, update. Over several ranks, the
// micro-batches of a step are dealt out in turn, and one small exchange decides for all: losses, norm, overflow, stops.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "train/batch.h"
#include "train/loss_scale.h"
#include "train/optimizer.h"

namespace baichuan {

class BaichuanForCausalLM;
class LoraAdapter;
class ProcessGroup;

enum class LossNormalization {
  kToken,       // mean over all labelled tokens of the step
  kMicroBatch,  // mean of the micro-batches' means (the stack of 2023)
};

struct TrainStepSettings {
  LossNormalization normalization = LossNormalization::kToken;
  std::int64_t accumulation = 1;  // kMicroBatch divides by it even where a step is shorter
  double max_grad_norm = 1;       // 0: no clipping
  bool norm_by_block = false;     // the norm's bits are the same for any number of ranks (sharded parameters)
  std::uint64_t seed = 42;        // of the dropout
  bool skip_non_finite = false;   // leave out a step whose loss or gradient is not finite; else it stops the run
  bool scale_loss = false;        // float16
  LossScaleOptions loss_scale;
};

// A step's work. Micro-batch i of the step belongs to rank i modulo the number of ranks.
struct StepWork {
  std::span<const Batch> own;      // of this rank, in order
  std::int64_t micro_batches = 0;  // over all ranks
  std::int64_t target_tokens = 0;  // over all ranks
  std::int64_t tokens = 0;         // over all ranks

  // All micro-batches, where there is one rank.
  static StepWork of(std::span<const Batch> batches);
};

struct TrainStepResult {
  double loss = 0;
  double grad_norm = 0;  // before clipping
  std::int64_t target_tokens = 0;
  std::int64_t tokens = 0;
  bool skipped = false;              // no update: gradients overflowed in float16, and the scale is lowered; or:
  std::string non_finite;            // what was not finite and where, of a step that was left out; empty: all was
  std::vector<double> micro_losses;  // token means, of all ranks' micro-batches in the order of the step
  int stop_signal = 0;               // some rank was asked to stop while the step went on
};

class TrainStep {
 public:
  // `adapter` is null for full fine-tuning. The references must outlive the object.
  TrainStep(BaichuanForCausalLM& model,
            LoraAdapter* adapter,
            Optimizer& optimizer,
            const TrainStepSettings& settings,
            ProcessGroup* group = nullptr);  // null: one rank

  // `step` counts from 1 and keys the dropout. `interrupt_signal` is asked before each micro-batch. With one rank,
  // run() then returns false at once and nothing has changed; with several, the step is finished, and its result tells
  // every rank of the signal. When the loss or a gradient is not finite, nothing is updated, and every rank throws
  // TrainingError or, with skip_non_finite, says so in `result`: the step, the samples and the first bad tensor.
  bool run(const StepWork& work,
           std::int64_t step,
           double learning_rate,
           TrainStepResult& result,
           const std::function<int()>& interrupt_signal = {});

  // Sum of the losses of a batch without gradients; the model's own evaluation of it.
  double evaluate(const Batch& batch);

  LossScale& loss_scale() { return loss_scale_; }
  ~TrainStep();

 private:
  struct Figures;
  double forward_backward(const Batch& batch, double gradient_scale);
  void run_micro_batch(const Batch& batch, const StepWork& work, std::int64_t step, double loss_scale, Figures& own);
  void exchange(const StepWork& work, std::int64_t step, const Figures& own, TrainStepResult& result);
  std::string words_of_all(const std::string& own);
  std::string describe_non_finite_loss(const Batch& batch, std::int64_t step, double loss);
  void settle_non_finite_gradient(const StepWork& work, std::int64_t step, TrainStepResult& result);

  BaichuanForCausalLM& model_;
  LoraAdapter* adapter_;
  Optimizer& optimizer_;
  TrainStepSettings settings_;
  std::unique_ptr<ProcessGroup> solo_;
  ProcessGroup& group_;
  LossScale loss_scale_;
};

}  // namespace baichuan
