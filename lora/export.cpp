#include "lora/export.h"

#include <algorithm>
#include <limits>
#include <memory>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "io/checkpoint_reader.h"
#include "io/model_files.h"
#include "lora/merge_plan.h"
#include "model/baichuan_config.h"

namespace baichuan {

namespace {

constexpr std::int64_t kBlockElements = std::int64_t{8} << 20;  // what is merged at a time: 32 MB in float32

bool same_directory(const fs::path& a, const fs::path& b) {
  return fs::weakly_canonical(fs::absolute(a)) == fs::weakly_canonical(fs::absolute(b));
}

void check_directories(const ExportOptions& options) {
  if (same_directory(options.output_directory, options.model_directory))
    throw UsageError(
        "--output_dir must be another directory than the model's; found {} for both; the export would replace "
        "its own base",
        options.output_directory.string());
  for (const auto& adapter : options.adapters)
    if (same_directory(options.output_directory, adapter))
      throw UsageError("--output_dir must be another directory than the adapter's; found {} for both",
                       options.output_directory.string());
}

std::vector<TensorSpec> output_specs(const CheckpointReader& base, std::optional<at::ScalarType> dtype) {
  std::vector<TensorSpec> specs = base.tensors();
  for (auto& spec : specs)
    if (dtype && at::isFloatingType(spec.dtype)) spec.dtype = *dtype;
  return specs;
}

// The dtype of most of the floating elements: what config.json says of the checkpoint.
at::ScalarType main_dtype(const std::vector<TensorSpec>& specs) {
  std::map<at::ScalarType, std::int64_t> elements{{at::kFloat, 0}};
  for (const auto& spec : specs)
    if (at::isFloatingType(spec.dtype)) elements[spec.dtype] += spec.numel();
  const auto less = [](const auto& x, const auto& y) { return x.second < y.second; };
  return std::max_element(elements.begin(), elements.end(), less)->first;
}

// The base's file with one value changed; newer tools call the key "dtype".
std::string updated_config(const fs::path& model_directory, at::ScalarType dtype) {
  const fs::path file = model_directory / "config.json";
  OrderedJson config = OrderedJson::parse(read_file(file));
  const bool new_key = config.contains("dtype") && !config.contains("torch_dtype");
  config[new_key ? "dtype" : "torch_dtype"] = std::string(dtype_name(dtype));
  return config.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

// Files that are written and synced, and take their places when the weights do.
class StagedFiles {
 public:
  void add(const fs::path& path, std::string_view contents) {
    files_.push_back(std::make_unique<AtomicFile>(path));
    files_.back()->write(contents);
    files_.back()->sync();
  }
  void commit() {
    for (auto& file : files_) file->commit();
  }

 private:
  std::vector<std::unique_ptr<AtomicFile>> files_;
};

// float16 ends at 65504: a larger weight would become infinite without a word.
void check_range(const at::Tensor& block, const TensorSpec& output, const fs::path& file) {
  if (output.dtype != at::kHalf || block.scalar_type() == at::kHalf || !at::isFloatingType(block.scalar_type())) return;
  constexpr double kMostHalf = 65504;
  const double largest = at::nan_to_num(block, 0.0).abs().max().item<double>();
  if (largest > kMostHalf)
    throw CheckpointError(
        "{}: expected numbers up to {} in '{}', because --dtype is fp16; found {:.6g}; use --dtype bf16 or "
        "fp32",
        file.string(), kMostHalf, output.name, largest);
}

class Export {
 public:
  explicit Export(const ExportOptions& options)
      : options_(options),
        base_(CheckpointReader::open(options.model_directory)),
        plan_(base_, options.adapters),
        specs_(output_specs(base_, options.dtype)) {
    for (const auto& spec : specs_) total_ += spec.nbytes();
  }

  ExportReport run() {
    CheckpointWriter writer(options_.output_directory, specs_, options_.writing);
    for (const auto& spec : specs_)
      if (!write_tensor(spec, writer)) return {};
    StagedFiles beside;
    for (const auto& file : model_side_files(options_.model_directory))
      beside.add(options_.output_directory / file.filename(), read_file(file));
    beside.add(options_.output_directory / "config.json", updated_config(options_.model_directory, main_dtype(specs_)));
    writer.finish();
    beside.commit();
    return {true, static_cast<std::int64_t>(specs_.size()), static_cast<std::int64_t>(plan_.size()), total_};
  }

 private:
  // False when it was told to stop.
  bool write_tensor(const TensorSpec& output, CheckpointWriter& writer) {
    const TensorSpec& stored = *base_.find(output.name);
    const bool merged = plan_.changes(output.name);
    std::optional<at::ScalarType> dtype;
    if (merged) dtype = stored.dtype == at::kDouble ? at::kDouble : at::kFloat;
    if (stored.shape.empty()) {
      writer.write(output.name, base_.read(output.name));
      return advance(output.nbytes());
    }
    const std::int64_t row_elements =
        std::max<std::int64_t>(1, stored.numel() / std::max<std::int64_t>(1, stored.shape[0]));
    const std::int64_t step = std::max<std::int64_t>(1, kBlockElements / row_elements);
    for (std::int64_t first = 0; first < stored.shape[0]; first += step) {
      at::Tensor rows = base_.read_rows(output.name, first, std::min(step, stored.shape[0] - first), dtype);
      if (merged) plan_.add_to_rows(output.name, first, rows);
      check_range(rows, output, base_.file_of(output.name));
      writer.write_rows(output.name, rows);
      if (!advance(rows.numel() * static_cast<std::int64_t>(c10::elementSize(output.dtype)))) return false;
    }
    return true;
  }

  bool advance(std::int64_t bytes) {
    written_ += bytes;
    return !options_.on_progress || options_.on_progress(written_, total_);
  }

  const ExportOptions& options_;
  CheckpointReader base_;
  MergePlan plan_;
  std::vector<TensorSpec> specs_;
  std::int64_t written_ = 0;
  std::int64_t total_ = 0;
};

}  // namespace

ExportReport export_merged(const ExportOptions& options) {
  check_directories(options);
  (void)load_baichuan_config(options.model_directory);  // refuses what is not Baichuan's
  return Export(options).run();
}

}  // namespace baichuan
