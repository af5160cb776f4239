// What a DeepSpeed file asks of a run. "auto" is filled from the flags; values that disagree with the flags are all
// reported in one error, as the Python stack did. One process: sharding stages 0 to 2 are then the same computation.
#pragma once

#include <filesystem>
#include <optional>

#include "train/loss_scale.h"
#include "train/training_options.h"

namespace baichuan {

struct DeepSpeedConfig {
  std::int64_t stage = 0;
  std::optional<double> gradient_clipping;  // unset: the file does not say
  LossScaleOptions loss_scale;              // used with --fp16
};

// Throws UsageError for disagreements with `options` and for settings that are not built; warns about keys that change
// nothing here.
DeepSpeedConfig load_deepspeed_config(const std::filesystem::path& path,
                                      const OptimizationOptions& options,
                                      std::int64_t num_processes);

}  // namespace baichuan
