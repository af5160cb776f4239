#include "train/run_settings.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "train/run_state.h"

namespace baichuan {

namespace {

// A DeepSpeed file may leave out an epoch's incomplete last batch.
std::int64_t rows_per_epoch(const TrainerOptions& options, std::int64_t rows, std::int64_t ranks) {
  if (!options.deepspeed || !options.deepspeed->drop_last) return rows;
  const std::int64_t batch = options.optimization.per_device_train_batch_size * ranks;
  if (rows < batch)
    throw UsageError(
        "{}: 'dataloader_drop_last' needs at least one whole batch of {} rows; found {} rows; switch it off or lower "
        "--per_device_train_batch_size",
        options.deepspeed->origin, batch, rows);
  return rows - rows % batch;
}

}  // namespace

OptimizerSettings optimizer_settings(const TrainerOptions& options) {
  const auto& o = options.optimization;
  return {o.adam_beta1, o.adam_beta2, o.adam_epsilon, o.weight_decay, o.optim == "adamw_hf", options.compat_2023};
}

TrainStepSettings step_settings(const TrainerOptions& options, const StepPlan& plan) {
  TrainStepSettings settings;
  settings.normalization = options.normalization;
  settings.accumulation = plan.accumulation;
  settings.max_grad_norm = options.max_grad_norm;
  settings.norm_by_block = options.deterministic_reduce;
  settings.seed = options.seed;
  settings.skip_non_finite = options.optimization.on_non_finite == "skip";
  settings.scale_loss = options.optimization.fp16;
  settings.loss_scale = options.loss_scale;
  return settings;
}

ScheduleOptions run_schedule(const TrainerOptions& options, std::int64_t total_steps) {
  const auto& o = options.optimization;
  if (options.deepspeed)
    if (const auto schedule = options.deepspeed->schedule(o, total_steps)) return *schedule;
  return {parse_schedule(o.lr_scheduler_type), o.learning_rate, total_steps, o.warmup_steps, o.warmup_ratio};
}

DataOrderMode order_mode(const TrainerOptions& options) {
  if (options.optimization.disable_shuffling) return DataOrderMode::kSequential;
  return options.compat_2023 ? DataOrderMode::kTorch2023 : DataOrderMode::kCounter;
}

std::int64_t interval(double value, std::int64_t max_steps) {
  if (value >= 1) return static_cast<std::int64_t>(value);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(value * static_cast<double>(max_steps))));
}

StepPlan plan_run(const TrainerOptions& options,
                  std::int64_t rows,
                  std::int64_t ranks,
                  const std::optional<std::filesystem::path>& resumed) {
  const auto& o = options.optimization;
  std::int64_t accumulation = o.gradient_accumulation_steps * ranks;
  if (resumed) {
    const bool epochs_depend_on_ranks = options.compat_2023 || (options.deepspeed && options.deepspeed->drop_last);
    if (const std::int64_t before = resumed_ranks(*resumed); epochs_depend_on_ranks && before != ranks)
      throw CheckpointError(
          "cannot resume from {} with {} ranks: {} have saved it, and with --compat 2023 or dataloader_drop_last the "
          "rows of an epoch depend on their number; start as many",
          resumed->string(), ranks, before);
    accumulation = resumed_micro_batches_per_step(*resumed, accumulation, ranks);
  }
  const std::int64_t padded_ranks = options.compat_2023 ? ranks : 1;  // then every rank got as many micro-batches
  return plan_steps(rows_per_epoch(options, rows, ranks), o.per_device_train_batch_size, accumulation,
                    o.num_train_epochs, o.max_steps, options.compat_2023, padded_ranks);
}

std::int64_t planned_saves(const TrainerOptions& options, const StepPlan& plan, std::int64_t step) {
  const LoggingOptions& logging = options.logging;
  std::int64_t saves = 0;
  if (logging.save_strategy == "steps")
    saves = (plan.max_steps - step) / interval(logging.save_steps, plan.max_steps);
  else if (logging.save_strategy == "epoch")
    saves = static_cast<std::int64_t>(std::ceil(options.optimization.num_train_epochs));
  // The best one may stay beside the newest, and the next is complete before the oldest goes.
  if (logging.save_total_limit > 0) saves = std::min(saves, logging.save_total_limit + 2);
  return saves;
}

}  // namespace baichuan
