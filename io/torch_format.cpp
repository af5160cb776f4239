#include "io/torch_format.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "io/restricted_unpickler.h"
#include "io/zip_directory.h"

namespace baichuan {

namespace {

constexpr std::uint64_t kMostPickleBytes = 64 << 20;

void check_magic(const InputFile& file) {
  const std::string start = file.read_text(0, std::min<std::uint64_t>(file.size(), 16));
  if (start.starts_with("PK")) return;
  // Before torch 1.6: a pickled magic number, then more pickles; the class-by-class tar files are older still.
  if (start.starts_with("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9"))
    throw CheckpointError(
        "{}: expected the zip format of torch 1.6 and later; found the older format of torch.save; load it with "
        "torch.load "
        "and save it again, or use .safetensors",
        file.name());
  throw CheckpointError(
      "{}: expected a file written by torch.save (a zip file); it starts with other bytes; incomplete "
      "download or corrupt file?",
      file.name());
}

// The folder inside of the zip file, "archive/" or any other name, that holds data.pkl.
std::string find_archive(const InputFile& file, const std::map<std::string, ZipRecord>& records) {
  constexpr std::string_view kPickle = "/data.pkl";
  for (const auto& [name, record] : records) {
    if (!name.ends_with(kPickle) || std::count(name.begin(), name.end(), '/') != 1) continue;
    const std::string archive = name.substr(0, name.size() - kPickle.size() + 1);
    if (records.contains(archive + "constants.pkl"))
      throw CheckpointError(
          "{}: expected a state dict; found a TorchScript program; save model.state_dict() with torch.save",
          file.name());
    return archive;
  }
  throw CheckpointError(
      "{}: expected a record data.pkl, as torch.save writes it; found {} other records; is this a "
      "checkpoint?",
      file.name(), records.size());
}

bool is_row_major(const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& strides) {
  std::int64_t expected = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

StoredTensor place(const InputFile& file, const PickledTensor& tensor, const ZipRecord& record) {
  const auto element = static_cast<std::uint64_t>(c10::elementSize(tensor.spec.dtype));
  if (static_cast<std::uint64_t>(tensor.storage_numel) > record.size / element)
    throw CheckpointError(
        "{}: tensor '{}' needs a storage of {} elements of {}; record '{}' has {} bytes; incomplete download or "
        "corrupt "
        "file?",
        file.name(), tensor.spec.name, tensor.storage_numel, dtype_name(tensor.spec.dtype), record.name, record.size);
  StoredTensor stored;
  stored.spec = tensor.spec;
  const std::int64_t numel = tensor.spec.numel();
  unsigned __int128 last = 0;  // sizes and strides below 2^63, at most 64 of them: fits
  for (std::size_t i = 0; numel > 0 && i < tensor.strides.size(); ++i)
    last += static_cast<unsigned __int128>(tensor.spec.shape[i] - 1) * static_cast<std::uint64_t>(tensor.strides[i]);
  const auto storage = static_cast<unsigned __int128>(tensor.storage_numel);
  const unsigned __int128 needed = static_cast<std::uint64_t>(tensor.offset) + last + (numel > 0 ? 1 : 0);
  if (needed > storage)
    throw CheckpointError(
        "{}: tensor '{}' of shape {}, strides {} and offset {} reaches beyond its storage of {} elements; "
        "corrupt file?",
        file.name(), tensor.spec.name, shape_text(tensor.spec.shape), shape_text(tensor.strides), tensor.offset,
        tensor.storage_numel);
  if (last + 1 < static_cast<unsigned __int128>(numel))
    throw CheckpointError(
        "{}: tensor '{}' of shape {} and strides {} repeats elements, which no weight does; save it "
        "again after .contiguous()",
        file.name(), tensor.spec.name, shape_text(tensor.spec.shape), shape_text(tensor.strides));
  stored.offset = record.offset + static_cast<std::uint64_t>(tensor.offset) * element;
  stored.span = numel > 0 ? static_cast<std::int64_t>(last) + 1 : 0;
  if (numel > 0 && !is_row_major(tensor.spec.shape, tensor.strides)) stored.strides = tensor.strides;
  return stored;
}

}  // namespace

StoredFile parse_torch_file(const InputFile& file) {
  check_magic(file);
  std::map<std::string, ZipRecord> records;
  for (auto& record : read_zip_directory(file)) records.emplace(record.name, record);
  const std::string archive = find_archive(file, records);

  if (const auto order = records.find(archive + "byteorder"); order != records.end()) {
    const auto& record = order->second;
    const std::string text = file.read_text(record.offset, std::min<std::uint64_t>(record.size, 16));
    if (text != "little")
      throw CheckpointError(
          "{}: expected little-endian tensors; the file says '{}'; save it again on a little-endian machine",
          file.name(), text == "big" ? "big" : "?");
  }
  const ZipRecord& pickle = records.at(archive + "data.pkl");
  if (pickle.size > kMostPickleBytes)
    throw CheckpointError(
        "{}: expected a pickle of at most {} bytes; found {}; tensors must be stored beside it, not in it", file.name(),
        kMostPickleBytes, pickle.size);
  StoredFile stored;
  for (const auto& tensor : unpickle_state_dict(file.read_text(pickle.offset, pickle.size), file.name())) {
    const auto record = records.find(archive + "data/" + tensor.storage);
    if (record == records.end())
      throw CheckpointError(
          "{}: tensor '{}' needs record '{}data/{}'; the file has no such record; incomplete download or "
          "corrupt file?",
          file.name(), tensor.spec.name, archive, tensor.storage);
    stored.tensors.push_back(place(file, tensor, record->second));
  }
  return stored;
}

}  // namespace baichuan
