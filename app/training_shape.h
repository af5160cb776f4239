// From the options of a run to the numbers that its memory and time are reckoned from.
#pragma once

#include <cstdint>
#include <optional>

#include "app/train_options.h"
#include "train/deepspeed_config.h"
#include "train/run_shape.h"

namespace baichuan {

// What the ranks divide: --zero_stage, or what the DeepSpeed file says, or 2. An adapter is small: dividing its state
// would save nothing. One rank divides nothing, unless its numbers are to be those of several.
Sharding sharding_of(const TrainCommandOptions& options,
                     const std::optional<DeepSpeedConfig>& deepspeed,
                     std::int64_t ranks);

// `stored_bytes` of an element of the checkpoint. Left to the caller: the longest row, the recomputed layers, on_gpu.
RunShape training_shape(const TrainCommandOptions& options,
                        const std::optional<DeepSpeedConfig>& deepspeed,
                        const BaichuanConfig& model,
                        std::int64_t stored_bytes,
                        std::int64_t ranks);

}  // namespace baichuan
