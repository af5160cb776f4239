// What a run leaves on disk.
#pragma once

#include <cstdint>

#include "train/run_shape.h"
#include "train/training_options.h"

namespace baichuan {

struct DiskPlan {
  std::int64_t checkpoint = 0;   // bytes of one
  std::int64_t written = 0;      // checkpoints over the whole run
  std::int64_t kept = 0;         // at most at any time, the one being written included
  std::int64_t final_model = 0;  // bytes; the final adapter under LoRA
  std::int64_t total_bytes() const { return kept * checkpoint + final_model; }
};

// `max_steps` optimiser steps in all, `steps_per_epoch` of them an epoch.
DiskPlan plan_disk(const RunShape& run,
                   const LoggingOptions& logging,
                   std::int64_t max_steps,
                   std::int64_t steps_per_epoch);

}  // namespace baichuan
