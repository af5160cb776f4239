#include "io/checkpoint_writer.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <limits>
#include <regex>
#include <set>
#include <utility>

#include <torch/torch.h>

#include "core/error.h"
#include "core/file_events.h"
#include "core/files.h"
#include "core/json.h"
#include "core/log.h"
#include "io/crc32.h"
#include "io/shard_layout.h"

namespace baichuan {

namespace {

constexpr std::int64_t kBlockBytes = 16 << 20;  // what is converted or fetched from a device at a time

struct Slot {
  TensorSpec spec;
  std::size_t shard = 0;
  std::uint64_t offset = 0;
  std::int64_t rows_written = 0;
  std::uint32_t crc = 0;
  std::uint64_t bytes_written = 0;

  // A scalar counts as one row.
  std::int64_t rows() const { return spec.shape.empty() ? 1 : spec.shape[0]; }
  bool complete() const { return rows_written == rows() || spec.numel() == 0; }
};

struct Shard {
  std::string file_name;
  std::string staged_name;           // where it is written: file_name where nothing is replaced
  std::vector<std::size_t> tensors;  // positions in the list of slots, in file order
  std::unique_ptr<ShardLayout> layout;
  std::unique_ptr<AtomicFile> file;
  std::size_t missing = 0;
};

const char* extension(CheckpointFormat format) {
  return format == CheckpointFormat::kSafetensors ? ".safetensors" : ".bin";
}

std::string default_stem(CheckpointFormat format) {
  return format == CheckpointFormat::kSafetensors ? "model" : "pytorch_model";
}

std::string stem_of(const CheckpointWriteOptions& options) {
  return options.stem.empty() ? default_stem(options.format) : options.stem;
}

fs::path index_path(const fs::path& directory, const std::string& stem, CheckpointFormat format) {
  return directory / (stem + extension(format) + ".index.json");
}

void write_index_file(const fs::path& path,
                      const std::map<std::string, std::string, std::less<>>& file_of,
                      std::int64_t total_bytes) {
  OrderedJson index;
  index["metadata"]["total_size"] = total_bytes;
  for (const auto& [name, file] : file_of) index["weight_map"][name] = file;
  write_json_file(path, index);
}

// Weights of an earlier save under the names that this one could have used, in either format: a loader that prefers
// the other one must not find old weights. 0 for other files; of the rest the least preferred first, shards last, so
// that what is removed in this order never brings up another old save.
int stale_rank(const std::string& name, const std::string& stem) {
  const bool model = stem == "model" || stem == "pytorch_model";
  const std::string safetensors = model ? "model" : stem;
  const std::string bin = model ? "pytorch_model" : stem;
  if (name == bin + ".bin.index.json") return 1;
  if (name == bin + ".bin") return 2;
  if (name == safetensors + ".safetensors.index.json") return 3;
  if (name == safetensors + ".safetensors") return 4;
  static const std::regex kShard(R"((\.(.+)-new\d+|([^.].*))-\d{5}-of-\d{5}\.(safetensors|bin))");
  std::smatch match;
  if (!std::regex_match(name, match, kShard)) return 0;
  const std::string of = match[2].matched ? match[2] : match[3];
  return of == (match[4] == "bin" ? bin : safetensors) ? 5 : 0;
}

std::vector<fs::path> weight_files(const fs::path& directory, const std::string& stem) {
  std::map<std::pair<int, std::string>, fs::path> ranked;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (const int rank = stale_rank(name, stem); rank > 0) ranked[{rank, name}] = entry.path();
  }
  std::vector<fs::path> files;
  for (const auto& [key, path] : ranked) files.push_back(path);
  return files;
}

// ".model-new1-00001-of-00002.safetensors": a shard that stands beside the earlier save of its name. Hidden, so that
// nobody takes it for a part of that save; an index may name it.
std::string staged_name(const std::string& file_name, const std::string& stem, int number) {
  return fmt::format(".{}-new{}{}", stem, number, file_name.substr(stem.size()));
}

bool is_staged(const std::string& name, const std::string& stem, std::string_view number) {
  return name.starts_with(fmt::format(".{}-new{}", stem, number));
}

// A number that no staged shard has: those that are left are in use.
int free_staging_number(const fs::path& directory, const std::string& stem) {
  for (int number = 1;; ++number) {
    const std::string text = fmt::format("{}-", number);
    const auto taken = [&](const auto& entry) { return is_staged(entry.path().filename().string(), stem, text); };
    if (std::none_of(fs::directory_iterator(directory), fs::directory_iterator(), taken)) return number;
  }
}

void check_storable(const std::vector<TensorSpec>& tensors, CheckpointFormat format) {
  std::set<std::string_view> names;
  for (const auto& spec : tensors) {
    const bool known = format == CheckpointFormat::kSafetensors ? dtype_to_safetensors(spec.dtype).has_value()
                                                                : dtype_to_storage_class(spec.dtype).has_value();
    if (!known)
      throw CheckpointError(
          "tensor '{}' has dtype {}, which {} files cannot hold; choose --format safetensors or another "
          "--dtype",
          spec.name, c10::toString(spec.dtype), extension(format));
    TORCH_CHECK_VALUE(names.insert(spec.name).second, "tensor ", spec.name, " is declared twice");
  }
}

// A writer that was killed leaves its temporary files, and with them the disk space that it had reserved; and shards
// that it had staged and no index names.
void remove_leftovers(const fs::path& directory, const std::string& stem) {
  static const std::regex kTemporary(
      R"(\.(\.?)(.+?)(-new\d+)?(-\d{5}-of-\d{5})?\.(safetensors|bin)(\.index\.json)?\.(\d{1,9})\.\d+\.tmp)");
  std::string indices;
  for (const char* format : {".safetensors", ".bin"})
    if (const auto index = directory / (stem + format + ".index.json"); fs::exists(index)) indices += read_file(index);
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(directory)) {
    std::smatch match;
    const std::string name = entry.path().filename().string();
    if (std::regex_match(name, match, kTemporary)) {
      const bool writer_is_gone = ::kill(std::stoi(match[7]), 0) != 0 && errno == ESRCH;
      if (match[2] == stem && writer_is_gone) leftovers.push_back(entry.path());
    } else if (is_staged(name, stem, "") && indices.find('"' + name + '"') == std::string::npos) {
      leftovers.push_back(entry.path());
    }
  }
  for (const auto& path : leftovers) remove_quietly(path);
}

}  // namespace

// Greedy in the declared order, as transformers does it; a tensor larger than the limit has a file to itself.
std::vector<PlannedFile> plan_files(const std::vector<TensorSpec>& tensors, const CheckpointWriteOptions& options) {
  const std::string stem = stem_of(options);
  std::vector<PlannedFile> files{{stem, {}}};
  std::int64_t bytes = 0;
  for (const auto& spec : tensors) {
    if (!files.back().tensors.empty() && bytes + spec.nbytes() > options.max_shard_bytes) {
      files.emplace_back();
      bytes = 0;
    }
    files.back().tensors.push_back(spec);
    bytes += spec.nbytes();
  }
  if (files.size() > 1)
    for (std::size_t number = 0; number < files.size(); ++number)
      files[number].stem = fmt::format("{}-{:05}-of-{:05}", stem, number + 1, files.size());
  return files;
}

void write_index(const fs::path& directory,
                 const std::vector<PlannedFile>& files,
                 const CheckpointWriteOptions& options) {
  std::map<std::string, std::string, std::less<>> file_of;
  std::int64_t total_bytes = 0;
  for (const auto& file : files) {
    for (const auto& spec : file.tensors) {
      file_of[spec.name] = file.stem + extension(options.format);
      total_bytes += spec.nbytes();
    }
  }
  write_index_file(index_path(directory, stem_of(options), options.format), file_of, total_bytes);
}

void write_tensor_file(const fs::path& directory, const std::string& stem, const std::vector<SavedTensor>& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& tensor : tensors) specs.push_back(tensor.spec);
  CheckpointWriteOptions options;
  options.stem = stem;
  options.max_shard_bytes = std::numeric_limits<std::int64_t>::max();
  CheckpointWriter writer(directory, specs, options);
  for (const auto& tensor : tensors) writer.write(tensor.spec.name, tensor.value);
  writer.finish();
}

struct CheckpointWriter::State {
  fs::path directory;
  CheckpointFormat format;
  std::string stem;
  std::vector<Slot> slots;
  std::vector<Shard> shards;
  std::map<std::string, std::size_t, std::less<>> by_name;
  std::int64_t total_bytes = 0;

  void plan(const std::vector<TensorSpec>& tensors, const CheckpointWriteOptions& options);
  void reserve();
  Slot& require(std::string_view name);
  void put(Slot& slot, const at::Tensor& rows);
  void close_shard(Shard& shard);
  void commit();
  bool give_final_names();
  void write_index() const;
  void remove_stale() const;
};

void CheckpointWriter::State::plan(const std::vector<TensorSpec>& tensors, const CheckpointWriteOptions& options) {
  for (const auto& spec : tensors) {
    by_name.emplace(spec.name, slots.size());
    slots.push_back({spec});
    total_bytes += spec.nbytes();
  }
  for (auto& [file_stem, held] : plan_files(tensors, options)) {
    Shard shard;
    shard.file_name = file_stem + extension(format);
    shard.staged_name = shard.file_name;
    shard.missing = held.size();
    // Wider elements first: everything is aligned, as safetensors' own writer does it.
    std::stable_sort(held.begin(), held.end(), [](const TensorSpec& a, const TensorSpec& b) {
      return c10::elementSize(a.dtype) > c10::elementSize(b.dtype);
    });
    if (format == CheckpointFormat::kSafetensors)
      shard.layout = std::make_unique<SafetensorsLayout>(held, options.metadata);
    else
      shard.layout = std::make_unique<TorchArchiveLayout>(held, file_stem);
    for (std::size_t i = 0; i < held.size(); ++i) {
      const std::size_t slot = by_name.at(held[i].name);
      shard.tensors.push_back(slot);
      slots[slot].shard = shards.size();
      slots[slot].offset = shard.layout->tensor_offset(i);
    }
    shards.push_back(std::move(shard));
  }
}

// What an earlier save holds is not free before this one is complete, so all of the new bytes must fit beside it.
void CheckpointWriter::State::reserve() {
  std::uint64_t needed = 0;
  for (const auto& shard : shards) needed += shard.layout->file_bytes();
  std::error_code failure;
  fs::create_directories(directory, failure);
  if (failure) throw MachineError("cannot create {}: {}", directory.string(), failure.message());
  remove_leftovers(directory, stem);
  if (shards.size() > 1 && !weight_files(directory, stem).empty()) {
    const int number = free_staging_number(directory, stem);
    for (auto& shard : shards) shard.staged_name = staged_name(shard.file_name, stem, number);
  }
  const std::uint64_t available = free_disk_bytes(directory);
  if (needed > available)
    throw MachineError(
        "expected {} bytes of free disk space for the weights in {}; found {}; free some disk space or choose "
        "another folder",
        needed, directory.string(), available);
  for (auto& shard : shards) {
    shard.file = std::make_unique<AtomicFile>(directory / shard.staged_name);
    shard.file->reserve(shard.layout->file_bytes());
  }
}

Slot& CheckpointWriter::State::require(std::string_view name) {
  const auto found = by_name.find(name);
  TORCH_CHECK_VALUE(found != by_name.end(), "tensor ", name, " was not declared to the checkpoint writer");
  return slots[found->second];
}

void CheckpointWriter::State::put(Slot& slot, const at::Tensor& rows) {
  Shard& shard = shards[slot.shard];
  const std::int64_t count = rows.size(0);
  const std::int64_t row_bytes = slot.spec.nbytes() / std::max<std::int64_t>(1, slot.rows());
  const bool direct = rows.is_cpu() && rows.is_contiguous() && rows.scalar_type() == slot.spec.dtype;
  const std::int64_t step = std::max<std::int64_t>(1, kBlockBytes / std::max<std::int64_t>(1, row_bytes));
  for (std::int64_t first = 0; first < count; first += step) {
    at::Tensor block = rows.narrow(0, first, std::min(step, count - first));
    if (!direct) block = block.to(at::Device(at::kCPU), slot.spec.dtype).contiguous();
    const std::size_t bytes = block.nbytes();
    shard.file->write_at(slot.offset + slot.bytes_written, block.const_data_ptr(), bytes);
    if (shard.layout->needs_checksums()) slot.crc = crc32(slot.crc, block.const_data_ptr(), bytes);
    slot.bytes_written += bytes;
  }
  slot.rows_written += count;
  if (slot.complete() && --shard.missing == 0) close_shard(shard);
}

// Synced as soon as it is full, so that the last step has little left to wait for.
void CheckpointWriter::State::close_shard(Shard& shard) {
  std::vector<std::uint32_t> checksums;
  for (const std::size_t i : shard.tensors) checksums.push_back(slots[i].crc);
  for (const auto& patch : shard.layout->patches(checksums))
    shard.file->write_at(patch.offset, patch.bytes.data(), patch.bytes.size());
  shard.file->sync();
}

void CheckpointWriter::State::write_index() const {
  std::map<std::string, std::string, std::less<>> file_of;
  for (const auto& [name, i] : by_name) file_of[name] = shards[slots[i].shard].staged_name;
  write_index_file(index_path(directory, stem, format), file_of, total_bytes);
}

// Shards that take the place of others cannot all be renamed at once, but their index can. So the new ones stand under
// staged names until the index names them; then nothing needs the old ones, whose names they get as well, and the index
// turns to those. A reader finds one whole save at every moment, and so does one who comes after a kill.
void CheckpointWriter::State::commit() {
  for (auto& shard : shards) shard.file->commit();
  if (shards.size() == 1) return;
  write_index();
  if (shards.front().staged_name != shards.front().file_name && give_final_names()) write_index();
}

bool CheckpointWriter::State::give_final_names() {
  for (const auto& shard : shards) {
    const fs::path path = directory / shard.file_name;
    announce_file_event("remove", path);
    remove_quietly(path);
    announce_file_event("link", path);
    std::error_code failure;
    fs::create_hard_link(directory / shard.staged_name, path, failure);
    if (failure) {
      log::warning("{}: {}; the shards keep the names that the index has for them, such as {}", path.string(),
                   failure.message(), shard.staged_name);
      return false;
    }
  }
  sync_directory(directory);
  for (auto& shard : shards) shard.staged_name = shard.file_name;
  return true;
}

void CheckpointWriter::State::remove_stale() const {
  std::set<std::string> kept;
  for (const auto& shard : shards) kept.insert(shard.staged_name);
  if (shards.size() > 1) kept.insert(stem + extension(format) + ".index.json");
  bool removed = false;
  for (const auto& path : weight_files(directory, stem)) {
    if (kept.contains(path.filename().string())) continue;
    announce_file_event("remove", path);
    remove_quietly(path);
    removed = true;
  }
  if (removed) sync_directory(directory);
}

CheckpointWriter::CheckpointWriter(const fs::path& directory,
                                   const std::vector<TensorSpec>& tensors,
                                   const CheckpointWriteOptions& options)
    : state_(std::make_unique<State>()) {
  TORCH_CHECK_VALUE(options.max_shard_bytes > 0, "max_shard_bytes is ", options.max_shard_bytes);
  check_storable(tensors, options.format);
  state_->directory = directory;
  state_->format = options.format;
  state_->stem = stem_of(options);
  state_->plan(tensors, options);
  state_->reserve();
}

CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::write(std::string_view name, const at::Tensor& value) {
  const TensorSpec& spec = state_->require(name).spec;
  TORCH_CHECK_VALUE(value.sizes() == at::IntArrayRef(spec.shape), "tensor ", name, " was declared as ",
                    at::IntArrayRef(spec.shape), ", written as ", value.sizes());
  write_rows(name, value.dim() == 0 ? value.reshape({1}) : value);
}

void CheckpointWriter::write_rows(std::string_view name, const at::Tensor& rows) {
  const at::NoGradGuard no_grad;
  Slot& slot = state_->require(name);
  TORCH_CHECK_VALUE(rows.dim() > 0 && slot.rows_written + rows.size(0) <= slot.rows(), "tensor ", name, " has ",
                    slot.rows(), " rows, of which ", slot.rows_written, " are written");
  if (slot.spec.numel() > 0) state_->put(slot, rows.detach());
}

void CheckpointWriter::finish() {
  for (const auto& slot : state_->slots)
    TORCH_CHECK_VALUE(slot.complete(), "tensor ", slot.spec.name, " was declared and not written");
  for (auto& shard : state_->shards) {
    if (shard.missing > 0) state_->close_shard(shard);  // it holds tensors without elements
  }
  try {
    state_->commit();
  } catch (...) {
    remove_leftovers(state_->directory, state_->stem);
    throw;
  }
  state_->remove_stale();
}

}  // namespace baichuan
