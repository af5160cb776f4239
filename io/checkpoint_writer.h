// Writes a checkpoint tensor by tensor: sharded, under temporary names, in place only when it is complete. Nothing
// that was in the directory before is touched until every byte of the new files is on disk; then one rename (of the
// file, or of the index) brings them up, and weight files of an earlier save are removed. Whoever reads, or kills the
// writer, at any moment finds one of the two saves whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "io/tensor_spec.h"

namespace baichuan {

namespace fs = std::filesystem;

enum class CheckpointFormat { kSafetensors, kBin };

struct CheckpointWriteOptions {
  CheckpointFormat format = CheckpointFormat::kSafetensors;
  std::int64_t max_shard_bytes = 2'000'000'000;
  std::map<std::string, std::string> metadata{{"format", "pt"}};  // safetensors only
  std::string stem;  // empty: "model" for safetensors, "pytorch_model" for .bin; "adapter_model" for adapters
};

// One of the files that hold the tensors: "model-00001-of-00003" and what is in it.
struct PlannedFile {
  std::string stem;
  std::vector<TensorSpec> tensors;  // in the declared order
};

// The files that CheckpointWriter divides the tensors among, for those who write them one by one: each by a writer of
// its own, with that stem and no limit, and then the index, if there are several.
std::vector<PlannedFile> plan_files(const std::vector<TensorSpec>& tensors, const CheckpointWriteOptions& options);
void write_index(const fs::path& directory,
                 const std::vector<PlannedFile>& files,
                 const CheckpointWriteOptions& options);

struct SavedTensor {
  TensorSpec spec;  // as it is stored
  at::Tensor value;
};

// One file of whatever size, <stem>.safetensors.
void write_tensor_file(const fs::path& directory, const std::string& stem, const std::vector<SavedTensor>& tensors);

class CheckpointWriter {
 public:
  // Plans the shards, checks and reserves the disk space. Throws MachineError when the disk is too small and
  // CheckpointError when a tensor cannot be stored in the format.
  CheckpointWriter(const fs::path& directory,
                   const std::vector<TensorSpec>& tensors,
                   const CheckpointWriteOptions& options);
  // Without finish() nothing of the new files remains.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // In any order; any device, strides and dtype: the declared dtype is stored, rounded once.
  void write(std::string_view name, const at::Tensor& value);
  // The next rows (of the first dimension) of a tensor that is too large to hold at once.
  void write_rows(std::string_view name, const at::Tensor& rows);
  // Every declared tensor must have been written.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baichuan
