// What `plan` reckons with: options, model, data set, DeepSpeed file and device brought together. Nothing of a
// model's size is allocated.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "app/plan_options.h"
#include "data/sft_estimate.h"
#include "train/accelerators.h"
#include "train/run_shape.h"
#include "train/step_estimate.h"
#include "train/step_plan.h"

namespace baichuan {

struct PlannedRun {
  std::string model_name;
  bool model_is_here = true;  // else a preset stands for it
  RunShape shape;
  Accelerator device;
  std::optional<SftEstimate> data;  // none without --dataset
  RowStatistics rows;
  std::optional<StepPlan> steps;   // none when neither data nor --max_steps is given
  std::vector<std::string> notes;  // what is assumed, one sentence each
};

// Throws as `train` does for what it refuses.
PlannedRun gather_planned_run(const PlanCommandOptions& options, const OptionTable& table);

}  // namespace baichuan
