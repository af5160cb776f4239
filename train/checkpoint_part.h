// What one rank writes of a checkpoint: tensor files of its own and, of one rank, what stands beside them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "io/checkpoint_writer.h"
#include "train/checkpoint_manifest.h"

namespace baichuan {

class CheckpointPart {
 public:
  // <stem>.safetensors. Without tensors there is no file.
  void add_tensors(std::string stem, std::vector<SavedTensor> tensors);
  // Small files: configuration, tokenizer.
  void add_files(std::function<void(const std::filesystem::path& directory)> write);

  // What copy_tensors() takes of the host's memory.
  std::uint64_t bytes() const;
  // From now on nothing refers to tensors that the next training step changes.
  void copy_tensors();

  // Writes everything and syncs it to the disk; returns the tensor files with their checksums. May run beside training
  // after copy_tensors(). Throws MachineError.
  std::vector<ManifestEntry> write(const std::filesystem::path& directory) const;

 private:
  struct TensorFile {
    std::string stem;
    std::vector<SavedTensor> tensors;
  };
  std::vector<TensorFile> tensor_files_;
  std::vector<std::function<void(const std::filesystem::path& directory)>> files_;
};

}  // namespace baichuan
