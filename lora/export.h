// A base checkpoint and adapters become a checkpoint of their own, tensor by tensor: W + scaling B A in float32,
// rounded once. Needs no model and, whatever the size of the weights, a few hundred megabytes of memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include <c10/core/ScalarType.h>

#include "io/checkpoint_writer.h"

namespace baichuan {

namespace fs = std::filesystem;

struct ExportOptions {
  fs::path model_directory;
  std::vector<fs::path> adapters;  // merged one after the other; none: the checkpoint is converted
  fs::path output_directory;
  std::optional<at::ScalarType> dtype;  // of every floating tensor; empty: each keeps the dtype it is stored in
  CheckpointWriteOptions writing;
  // Told how many of how many bytes are written; false stops, and nothing of the export remains.
  std::function<bool(std::int64_t written, std::int64_t total)> on_progress;
};

struct ExportReport {
  bool complete = false;  // false: on_progress stopped it
  std::int64_t tensors = 0;
  std::int64_t merged = 0;  // tensors that an adapter changed
  std::int64_t bytes = 0;
};

// Writes weights, config.json (with the new dtype), and the base's tokenizer, generation, code and licence files.
// Everything is complete or absent. Throws CheckpointError, ConfigError and MachineError; UsageError when the output
// directory is one of the inputs.
ExportReport export_merged(const ExportOptions& options);

}  // namespace baichuan
