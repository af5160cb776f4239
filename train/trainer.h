// The training run: steps, logs, evaluation, checkpoints, the best weights, the end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "data/sft_dataset.h"
#include "train/deepspeed_config.h"
#include "train/progress_bar.h"
#include "train/shared_disks.h"
#include "train/step_plan.h"
#include "train/train_step.h"
#include "train/training_options.h"

namespace baichuan {

class ProcessGroup;
class ShardedParameters;
class TrainedWeights;

struct TrainerOptions {
  FinetuningOptions finetuning;
  OptimizationOptions optimization;
  LoggingOptions logging;
  bool compat_2023 = false;
  bool deterministic_reduce = false;  // sums in an order that does not depend on the number of ranks
  LossNormalization normalization = LossNormalization::kToken;
  LossScaleOptions loss_scale;
  std::optional<DeepSpeedConfig> deepspeed;
  double max_grad_norm = 1;
  std::uint64_t seed = 42;
  // Everything that decides the numbers, by option name: saved in checkpoints, compared when a run is resumed.
  Json resolved_options;
  std::string data_fingerprint;
  // logging.resume_from_checkpoint is a directory that has been looked at already, the same on every rank.
  bool resumed_is_verified = false;
};

// What tests and tools see of a run while it goes on.
class TrainerObserver {
 public:
  virtual ~TrainerObserver() = default;
  virtual void on_micro_batch(const PlannedMicroBatch&, double /*loss*/) {}
  virtual void on_step(std::int64_t /*step*/, double /*learning_rate*/, const TrainStepResult&) {}
  virtual void on_evaluation(std::int64_t /*step*/, double /*eval_loss*/) {}
};

struct TrainerHooks {
  std::function<int()> interrupt_signal = [] { return 0; };  // 0: go on
  ProgressBar* progress = nullptr;
  TrainerObserver* observer = nullptr;
};

struct TrainerInputs {
  BaichuanForCausalLM& model;
  LoraAdapter* adapter;  // null: full fine-tuning
  TrainedWeights& weights;
  const SftDataset& train_rows;
  const SftDataset* eval_rows;  // null: no evaluation
  // Full training in a 16-bit type: where the masters are read from, with all their bits.
  std::optional<std::filesystem::path> exact_weights;
  // Of a run over several ranks; null: one rank that holds whole parameters.
  ProcessGroup* group = nullptr;
  ShardedParameters* sharded = nullptr;
  std::int64_t local_ranks = 1;           // of the group, on this machine
  std::optional<SharedDisks> disks = {};  // unless given, one for all ranks
};

class Trainer {
 public:
  Trainer(const TrainerInputs& inputs, const TrainerOptions& options, const TrainerHooks& hooks);
  ~Trainer();

  // Trains (and evaluates, saves, plots); returns 0, or the signal that stopped the run after a checkpoint.
  int train();
  // Only evaluates, and writes eval_results.json; returns 0, or the signal that stopped it before.
  int evaluate_only();

 private:
  class Run;
  std::unique_ptr<Run> run_;
};

}  // namespace baichuan
