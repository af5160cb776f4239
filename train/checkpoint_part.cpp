#include "train/checkpoint_part.h"

#include <utility>

#include <torch/torch.h>

namespace baichuan {

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
    write_tensor_file(directory, file.stem, file.tensors);
    entries.push_back(describe_file(directory, file.stem + ".safetensors"));
  }
  return entries;
}

}  // namespace baichuan
