// A randomly initialised checkpoint, written without the model ever being in memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "io/checkpoint_writer.h"
#include "io/tensor_spec.h"
#include "model/baichuan_config.h"

namespace baichuan {

// Every parameter of the model, in the order in which the published checkpoints hold them.
std::vector<TensorSpec> parameter_specs(const BaichuanConfig& config, at::ScalarType dtype);

// Told after every piece; returns false to stop, whereupon nothing of the checkpoint remains.
using WriteProgress = std::function<bool(std::int64_t bytes_written, std::int64_t bytes_total)>;

// Writes weights (what init_weights() gives for the seed) and config.json; memory in use is one piece of 64 MB.
// Returns false when `progress` stopped it.
bool write_initial_checkpoint(const BaichuanConfig& config,
                              at::ScalarType dtype,
                              std::uint64_t seed,
                              const std::filesystem::path& directory,
                              const CheckpointWriteOptions& options,
                              const WriteProgress& progress = {});

}  // namespace baichuan
