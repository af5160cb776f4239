// Weights of a Hugging Face directory (or of one file): *.safetensors or pytorch_model*.bin, one file or shards.
// Opening reads headers only; tensors are read by name with pread, in pieces, by several threads, and converted on
// the way, so that the memory in use is the destination plus a few megabytes.
//
//   const auto reader = CheckpointReader::open("Baichuan-13B-Base");
//   const auto weight = reader.read("model.norm.weight", at::kFloat);
//
// Every problem with the files is a CheckpointError that names file, tensor, what was expected and what was found.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "io/tensor_spec.h"

namespace baichuan {

namespace fs = std::filesystem;

struct ReadRequest {
  std::string name;
  at::Tensor destination;
};

class CheckpointReader {
 public:
  // A directory with weights, one .safetensors or .bin file, or an index (*.index.json).
  static CheckpointReader open(const fs::path& directory_or_file);
  // adapter_model.safetensors of a PEFT directory, else adapter_model.bin.
  static CheckpointReader open_adapter(const fs::path& adapter_directory);

  // In file order.
  const std::vector<TensorSpec>& tensors() const;
  const TensorSpec* find(std::string_view name) const;
  // The shard that holds the tensor; throws CheckpointError when there is none.
  const fs::path& file_of(std::string_view name) const;
  // Every file with tensors, in reading order.
  std::vector<fs::path> files() const;
  // The __metadata__ of the safetensors files; empty for .bin.
  const std::map<std::string, std::string>& metadata() const;

  // A fresh contiguous CPU tensor, in the stored dtype or in the given one.
  at::Tensor read(std::string_view name, std::optional<at::ScalarType> dtype = {}) const;
  // `count` rows of the first dimension from row `first` on; for tensors too large to hold twice.
  at::Tensor read_rows(std::string_view name,
                       std::int64_t first,
                       std::int64_t count,
                       std::optional<at::ScalarType> dtype = {}) const;
  // Fills `destination` (CPU or CUDA, any strides), which must have the stored shape; its dtype decides.
  void read_into(std::string_view name, at::Tensor& destination) const;
  // The same for many tensors at once: all threads stay busy whatever the sizes. The quickest way to load a model.
  void read_all(std::span<const ReadRequest> requests) const;

 private:
  struct Contents;
  explicit CheckpointReader(std::shared_ptr<const Contents> contents);

  std::shared_ptr<const Contents> contents_;
};

}  // namespace baichuan
