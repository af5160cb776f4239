// What the options of a run come to: its steps, its schedule, the order of its rows, how often it saves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "train/data_order.h"
#include "train/learning_rate_schedule.h"
#include "train/optimizer.h"
#include "train/step_plan.h"
#include "train/train_step.h"
#include "train/trainer.h"

namespace baichuan {

OptimizerSettings optimizer_settings(const TrainerOptions& options);
TrainStepSettings step_settings(const TrainerOptions& options, const StepPlan& plan);
// The flags' schedule, or the one of a DeepSpeed file.
ScheduleOptions run_schedule(const TrainerOptions& options, std::int64_t total_steps);
DataOrderMode order_mode(const TrainerOptions& options);

// "500" are steps, "0.1" is a share of all steps, rounded up.
std::int64_t interval(double value, std::int64_t max_steps);

// Counted over all ranks: a step of G micro-batches a rank is one of G x ranks micro-batches. A run that goes on with
// another number of ranks keeps the micro-batches of a step, and so its course. Throws UsageError and CheckpointError.
StepPlan plan_run(const TrainerOptions& options,
                  std::int64_t rows,
                  std::int64_t ranks,
                  const std::optional<std::filesystem::path>& resumed);

// Checkpoints that will be on the disk at once, from `step` on.
std::int64_t planned_saves(const TrainerOptions& options, const StepPlan& plan, std::int64_t step);

}  // namespace baichuan
