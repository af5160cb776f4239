// From the options of a run to the numbers that its memory and time are reckoned from.
#pragma once

#include <cstdint>

#include "app/train_options.h"
#include "train/run_shape.h"

namespace baichuan {

// `stored_bytes` of an element of the checkpoint. Left to the caller: the longest row, the recomputed layers, on_gpu.
RunShape training_shape(const TrainCommandOptions& options,
                        const BaichuanConfig& model,
                        std::int64_t stored_bytes,
                        Sharding sharding,
                        std::int64_t ranks);

}  // namespace baichuan
