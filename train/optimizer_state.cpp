#include "train/optimizer_state.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>

#include <torch/torch.h>

#include "core/error.h"
#include "io/checkpoint_reader.h"

namespace baichuan {

namespace {

constexpr std::string_view kStem = "optimizer";

struct StateKind {
  const char* suffix;
  at::Tensor TrainedParameter::*tensor;
};

std::vector<StateKind> state_kinds(bool with_masters) {
  std::vector<StateKind> kinds{{".exp_avg", &TrainedParameter::exp_avg},
                               {".exp_avg_sq", &TrainedParameter::exp_avg_sq}};
  if (with_masters) kinds.push_back({".master", &TrainedParameter::master});
  return kinds;
}

std::vector<SavedTensor> tensors_to_save(const Optimizer& optimizer, bool with_masters) {
  std::vector<SavedTensor> saved;
  for (const auto& trained : optimizer.parameters()) {
    if (trained.saved_count == 0) continue;
    const bool whole = trained.saved_count == trained.whole_elements();
    for (const auto& kind : state_kinds(with_masters)) {
      const at::Tensor& state = trained.*kind.tensor;
      const std::int64_t end = trained.saved_first + trained.saved_count;
      std::string name = trained.name + kind.suffix;
      if (!whole) name += fmt::format("[{}:{}]", trained.saved_first, end);
      const at::Tensor value =
          whole ? state.reshape(trained.shape)
                : state.flatten().narrow(0, trained.saved_first - trained.first, trained.saved_count);
      saved.push_back({{name, at::kFloat, value.sizes().vec()}, value});
    }
  }
  return saved;
}

// Where the elements of one state tensor lie.
struct Piece {
  std::size_t file = 0;
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t first = 0;
  std::int64_t count = 0;
};

class SavedState {
 public:
  explicit SavedState(const std::filesystem::path& directory) : directory_(directory) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(kStem) && name.ends_with(".safetensors")) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    if (files.empty())
      throw CheckpointError("{}: expected optimizer.safetensors or its parts; found none; use another checkpoint",
                            directory.string());
    for (const auto& file : files) {
      readers_.push_back(CheckpointReader::open(file));
      for (const auto& spec : readers_.back().tensors()) add(readers_.size() - 1, spec);
    }
  }

  bool holds(const std::string& name) const { return pieces_.contains(name); }

  // Elements `first` … of the state tensor into `destination` (any shape, float32).
  void read(const std::string& name, std::int64_t first, const at::Tensor& destination) const {
    const auto found = pieces_.find(name);
    std::int64_t filled = 0;
    const std::int64_t end = first + destination.numel();
    const at::Tensor flat = destination.view({-1});
    for (const auto& piece : found == pieces_.end() ? std::vector<Piece>{} : found->second) {
      const std::int64_t from = std::max(first, piece.first);
      const std::int64_t to = std::min(end, piece.first + piece.count);
      if (from >= to) continue;
      flat.narrow(0, from - first, to - from)
          .copy_(read_elements(readers_[piece.file], piece.name, piece.shape, from - piece.first, to - from));
      filled += to - from;
    }
    if (filled != destination.numel())
      throw CheckpointError(
          "{}: expected elements {} to {} of {}; found {} of them; if its ranks wrote to the disks of several "
          "machines, "
          "copy their optimizer-*.safetensors into one directory, else use another checkpoint",
          directory_.string(), first, end, name, filled);
  }

 private:
  void add(std::size_t file, const TensorSpec& spec) {
    Piece piece{file, spec.name, spec.shape, 0, spec.numel()};
    const auto bracket = spec.name.find('[');
    if (bracket != std::string::npos) {
      const char* const end = spec.name.data() + spec.name.size();
      std::from_chars(spec.name.data() + bracket + 1, end, piece.first);
    }
    pieces_[spec.name.substr(0, bracket)].push_back(std::move(piece));
  }

  std::filesystem::path directory_;
  std::vector<CheckpointReader> readers_;
  std::map<std::string, std::vector<Piece>> pieces_;
};

}  // namespace

at::Tensor read_elements(const CheckpointReader& reader,
                         const std::string& name,
                         const std::vector<std::int64_t>& shape,
                         std::int64_t first,
                         std::int64_t count) {
  const std::int64_t rows = shape.empty() ? 1 : shape.front();
  std::int64_t width = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) width *= shape[i];
  const TensorSpec* const spec = reader.find(name);
  if (spec == nullptr || spec->shape != shape)
    throw CheckpointError("{}: expected {} of shape {}; found {}", reader.files().front().string(), name,
                          shape_text(shape), spec == nullptr ? "none" : shape_text(spec->shape));
  const std::int64_t first_row = first / width;
  const std::int64_t last_row = std::min(rows, (first + count + width - 1) / width);
  const at::Tensor covering = reader.read_rows(name, first_row, last_row - first_row, at::kFloat).flatten();
  return covering.narrow(0, first - first_row * width, count);
}

void add_optimizer_state(
    CheckpointPart& part, const Optimizer& optimizer, bool with_masters, std::int64_t rank, std::int64_t ranks) {
  const std::string stem = ranks == 1 ? std::string(kStem) : fmt::format("{}-{:05}-of-{:05}", kStem, rank + 1, ranks);
  part.add_tensors(stem, tensors_to_save(optimizer, with_masters));
}

void load_optimizer_state(Optimizer& optimizer, const std::filesystem::path& directory) {
  const SavedState saved(directory);
  optimizer.wait_for_values();
  for (const auto& trained : optimizer.parameters())
    for (const auto& kind : state_kinds(saved.holds(trained.name + ".master")))
      saved.read(trained.name + kind.suffix, trained.first, trained.*kind.tensor);
  optimizer.copy_masters_to_parameters();
}

std::uint64_t optimizer_state_bytes(const Optimizer& optimizer, bool with_masters) {
  return static_cast<std::uint64_t>(optimizer.trained_elements()) * sizeof(float) * state_kinds(with_masters).size();
}

}  // namespace baichuan
