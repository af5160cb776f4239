// `train --num_gpus N` and `--num_processes N`: this process becomes the launcher of N ranks on this machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/train_options.h"

namespace baichuan {

// Empty when this process is to train itself: one rank is asked for, or a launcher has started it among its ranks.
// Throws UsageError when that launcher has started another number than asked for, and MachineError when there are fewer
// GPUs.
std::optional<std::int64_t> local_ranks_to_start(const TrainCommandOptions& options, const OptionTable& table);

// Runs `words` (the command and its arguments) as that many ranks; returns and throws as supervise_ranks() does.
int run_local_ranks(const TrainCommandOptions& options, std::int64_t ranks, const std::vector<std::string>& words);

}  // namespace baichuan
