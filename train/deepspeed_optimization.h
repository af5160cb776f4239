// The optimizer and scheduler blocks of a DeepSpeed file.
#pragma once

#include <cstdint>
#include <optional>

#include "train/deepspeed_section.h"
#include "train/learning_rate_schedule.h"
#include "train/training_options.h"

namespace baichuan {

// AdamW's settings, "auto" filled in. They are those of the flags: whatever differs is a disagreement.
struct DeepSpeedOptimizer {
  double learning_rate = 0;
  double beta1 = 0;
  double beta2 = 0;
  double epsilon = 0;
  double weight_decay = 0;
};

struct DeepSpeedScheduler {
  ScheduleType type = ScheduleType::kDeepSpeedWarmup;
  DeepSpeedWarmup warmup;
  std::optional<std::int64_t> warmup_steps;  // unset: "auto", the flags'
  bool default_warmup_steps = false;         // the file does not say: DeepSpeed's 1000
  std::optional<std::int64_t> total_steps;   // unset: "auto", the run's
};

DeepSpeedOptimizer read_deepspeed_optimizer(const DeepSpeedObject& block,
                                            const OptimizationOptions& flags,
                                            FlagDisagreements& disagreements);

DeepSpeedScheduler read_deepspeed_scheduler(const DeepSpeedObject& block,
                                            const OptimizationOptions& flags,
                                            FlagDisagreements& disagreements);

// What the file says about steps, against a run of `total_steps` updates.
void compare_steps(const DeepSpeedScheduler& scheduler,
                   const OptimizationOptions& flags,
                   std::int64_t total_steps,
                   FlagDisagreements& disagreements);

// The schedule of a run of `total_steps` updates.
ScheduleOptions schedule_options(const DeepSpeedScheduler& scheduler,
                                 const OptimizationOptions& flags,
                                 std::int64_t total_steps);

}  // namespace baichuan
