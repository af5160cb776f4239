#include "train/disk_plan.h"

#include <algorithm>
#include <cmath>

#include "train/memory_terms.h"

namespace baichuan {

namespace {

// "500" are steps, "0.1" is a share of all steps, rounded up: the trainer's rule.
std::int64_t interval_steps(double value, std::int64_t max_steps) {
  if (value >= 1) return static_cast<std::int64_t>(value);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(value * static_cast<double>(max_steps))));
}

}  // namespace

DiskPlan plan_disk(const RunShape& run,
                   const LoggingOptions& logging,
                   std::int64_t max_steps,
                   std::int64_t steps_per_epoch) {
  DiskPlan plan;
  plan.checkpoint = checkpoint_bytes(run);
  plan.final_model = final_model_bytes(run);
  if (logging.save_strategy == "steps") plan.written = max_steps / interval_steps(logging.save_steps, max_steps);
  if (logging.save_strategy == "epoch") plan.written = max_steps / std::max<std::int64_t>(1, steps_per_epoch);
  plan.kept = plan.written;
  if (logging.save_total_limit > 0) {
    // A new one is complete before an old one goes; the best one stays beside the newest.
    const std::int64_t stay = std::max<std::int64_t>(logging.save_total_limit, logging.load_best_model_at_end ? 2 : 1);
    plan.kept = std::min(plan.written, stay + 1);
  }
  return plan;
}

}  // namespace baichuan
