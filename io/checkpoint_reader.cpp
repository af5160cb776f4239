#include "io/checkpoint_reader.h"

#include <utility>

#include <torch/torch.h>

#include "core/error.h"
#include "io/checkpoint_files.h"
#include "io/input_file.h"
#include "io/safetensors_format.h"
#include "io/tensor_copy.h"
#include "io/torch_format.h"

namespace baichuan {

struct CheckpointReader::Contents {
  std::vector<std::unique_ptr<InputFile>> files;
  std::vector<TensorSpec> specs;
  std::vector<StoredTensor> stored;     // as specs
  std::vector<std::size_t> file_index;  // as specs
  std::map<std::string, std::size_t, std::less<>> by_name;
  std::map<std::string, std::string> metadata;
  fs::path origin;

  explicit Contents(const CheckpointFiles& found, fs::path from);
  void add(std::size_t file, StoredTensor tensor, const CheckpointFiles& found);
  std::size_t require(std::string_view name) const;
  TensorCopy copy_into(std::string_view name, const at::Tensor& destination) const;
};

CheckpointReader::Contents::Contents(const CheckpointFiles& found, fs::path from) : origin(std::move(from)) {
  for (const auto& path : found.files) {
    files.push_back(std::make_unique<InputFile>(path));
    const InputFile& file = *files.back();
    StoredFile stored_file = path.extension() == ".safetensors" ? parse_safetensors(file) : parse_torch_file(file);
    metadata.merge(stored_file.metadata);
    for (auto& tensor : stored_file.tensors) add(files.size() - 1, std::move(tensor), found);
  }
  for (const auto& [tensor, file] : found.weight_map) {
    const auto at = by_name.find(tensor);
    if (at == by_name.end() || files[file_index[at->second]]->path().filename() != file)
      throw CheckpointError(
          "{}: expected tensor '{}' in {}; it is not there; take the index that belongs to the shards",
          found.index.string(), tensor, file);
  }
  if (specs.empty()) throw CheckpointError("{}: expected weights; found no tensor", origin.string());
}

// A tensor may stand in two shards when the index says which one counts.
void CheckpointReader::Contents::add(std::size_t file, StoredTensor tensor, const CheckpointFiles& found) {
  const std::string& name = tensor.spec.name;
  const auto mapped = found.weight_map.find(name);
  if (mapped != found.weight_map.end() && mapped->second != files[file]->path().filename()) return;
  if (const auto before = by_name.find(name); before != by_name.end())
    throw CheckpointError(
        "{}: expected every tensor once; '{}' stands in {} too; remove the file that does not belong to "
        "the model",
        files[file]->name(), name, files[file_index[before->second]]->path().filename().string());
  by_name.emplace(name, specs.size());
  specs.push_back(tensor.spec);
  file_index.push_back(file);
  stored.push_back(std::move(tensor));
}

std::size_t CheckpointReader::Contents::require(std::string_view name) const {
  const auto found = by_name.find(name);
  if (found == by_name.end())
    throw CheckpointError(
        "{}: expected tensor '{}'; the checkpoint has {} tensors, not this one; is it a complete "
        "Baichuan checkpoint?",
        origin.string(), name, specs.size());
  return found->second;
}

TensorCopy CheckpointReader::Contents::copy_into(std::string_view name, const at::Tensor& destination) const {
  const std::size_t i = require(name);
  const std::vector<std::int64_t> wanted = destination.sizes().vec();
  if (wanted != specs[i].shape)
    throw CheckpointError(
        "{}: tensor '{}': expected shape {}; found {}; use the config.json that belongs to this checkpoint",
        files[file_index[i]]->name(), name, shape_text(wanted), shape_text(specs[i].shape));
  return {files[file_index[i]].get(), stored[i], destination};
}

CheckpointReader::CheckpointReader(std::shared_ptr<const Contents> contents) : contents_(std::move(contents)) {}

CheckpointReader CheckpointReader::open(const fs::path& directory_or_file) {
  return CheckpointReader(std::make_shared<Contents>(find_checkpoint_files(directory_or_file), directory_or_file));
}

CheckpointReader CheckpointReader::open_adapter(const fs::path& adapter_directory) {
  for (const char* name : {"adapter_model.safetensors", "adapter_model.bin"})
    if (fs::exists(adapter_directory / name)) return open(adapter_directory / name);
  throw CheckpointError(
      "{}: expected adapter_model.safetensors or adapter_model.bin; found neither; is this the directory "
      "of a LoRA adapter?",
      adapter_directory.string());
}

const std::vector<TensorSpec>& CheckpointReader::tensors() const {
  return contents_->specs;
}

const TensorSpec* CheckpointReader::find(std::string_view name) const {
  const auto found = contents_->by_name.find(name);
  return found == contents_->by_name.end() ? nullptr : &contents_->specs[found->second];
}

const fs::path& CheckpointReader::file_of(std::string_view name) const {
  return contents_->files[contents_->file_index[contents_->require(name)]]->path();
}

std::vector<fs::path> CheckpointReader::files() const {
  std::vector<fs::path> paths;
  for (const auto& file : contents_->files) paths.push_back(file->path());
  return paths;
}

const std::map<std::string, std::string>& CheckpointReader::metadata() const {
  return contents_->metadata;
}

at::Tensor CheckpointReader::read(std::string_view name, std::optional<at::ScalarType> dtype) const {
  const TensorSpec& spec = contents_->specs[contents_->require(name)];
  at::Tensor tensor = at::empty(spec.shape, at::TensorOptions().dtype(dtype.value_or(spec.dtype)));
  read_into(name, tensor);
  return tensor;
}

at::Tensor CheckpointReader::read_rows(std::string_view name,
                                       std::int64_t first,
                                       std::int64_t count,
                                       std::optional<at::ScalarType> dtype) const {
  const std::size_t i = contents_->require(name);
  const TensorSpec& spec = contents_->specs[i];
  TORCH_CHECK_INDEX(!spec.shape.empty() && first >= 0 && count >= 0 && first <= spec.shape[0] - count,
                    "read_rows: rows ", first, " to ", first + count, " of tensor ", spec.name);
  TensorCopy rows{
      contents_->files[contents_->file_index[i]].get(), stored_rows(contents_->stored[i], first, count), {}};
  rows.destination = at::empty(rows.source.spec.shape, at::TensorOptions().dtype(dtype.value_or(spec.dtype)));
  copy_tensors({&rows, 1});
  return rows.destination;
}

void CheckpointReader::read_into(std::string_view name, at::Tensor& destination) const {
  const TensorCopy copy = contents_->copy_into(name, destination);
  copy_tensors({&copy, 1});
}

void CheckpointReader::read_all(std::span<const ReadRequest> requests) const {
  std::vector<TensorCopy> copies;
  copies.reserve(requests.size());
  for (const auto& request : requests) copies.push_back(contents_->copy_into(request.name, request.destination));
  copy_tensors(copies);
}

}  // namespace baichuan
