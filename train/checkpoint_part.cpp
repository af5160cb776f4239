#include "train/checkpoint_part.h"

#include <limits>
#include <utility>

#include <torch/torch.h>

#include "io/checkpoint_writer.h"

namespace baichuan {

namespace {

void write_tensors(const fs::path& directory, const std::string& stem, const std::vector<SavedTensor>& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& tensor : tensors) specs.push_back(tensor.spec);
  CheckpointWriteOptions options;
  options.stem = stem;
  options.max_shard_bytes = std::numeric_limits<std::int64_t>::max();
  CheckpointWriter writer(directory, specs, options);
  for (const auto& tensor : tensors) writer.write(tensor.spec.name, tensor.value);
  writer.finish();
}

}  // namespace

void CheckpointPart::add_tensors(std::string stem, std::vector<SavedTensor> tensors) {
  if (!tensors.empty()) tensor_files_.push_back({std::move(stem), std::move(tensors)});
}

void CheckpointPart::add_files(std::function<void(const fs::path& directory)> write) {
  files_.push_back(std::move(write));
}

std::uint64_t CheckpointPart::bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& file : tensor_files_)
    for (const auto& tensor : file.tensors) bytes += static_cast<std::uint64_t>(tensor.spec.nbytes());
  return bytes;
}

void CheckpointPart::copy_tensors() {
  const at::NoGradGuard no_grad;
  for (auto& file : tensor_files_) {
    for (auto& [spec, value] : file.tensors) {
      const auto host = value.options().device(at::kCPU).dtype(spec.dtype).requires_grad(false);
      value = at::empty(value.sizes(), host).copy_(value.detach());
    }
  }
}

std::vector<ManifestEntry> CheckpointPart::write(const fs::path& directory) const {
  for (const auto& write : files_) write(directory);
  std::vector<ManifestEntry> entries;
  for (const auto& file : tensor_files_) {
    write_tensors(directory, file.stem, file.tensors);
    entries.push_back(describe_file(directory, file.stem + ".safetensors"));
  }
  return entries;
}

}  // namespace baichuan
