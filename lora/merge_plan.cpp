#include "lora/merge_plan.h"

#include <set>
#include <string_view>

#include <ATen/ATen.h>

#include "core/error.h"
#include "lora/adapter_config.h"

namespace baichuan {

namespace {

// A module's matrices in an adapter's file, by module ("model.layers.0.self_attn.W_pack").
struct Pair {
  const TensorSpec* a = nullptr;
  const TensorSpec* b = nullptr;
};

std::map<std::string, Pair> find_pairs(const CheckpointReader& adapter) {
  std::map<std::string, Pair> pairs;
  for (const auto& spec : adapter.tensors()) {
    std::string_view name = spec.name;
    if (name.starts_with(kPeftPrefix)) name.remove_prefix(kPeftPrefix.size());
    bool placed = false;
    for (const std::string_view matrix : {".lora_A", ".lora_B"}) {
      // With PEFT's adapter name in it where the model itself was saved.
      for (const std::string_view ending : {".weight", ".default.weight"}) {
        const std::string whole = std::string(matrix) + std::string(ending);
        if (!name.ends_with(whole)) continue;
        Pair& pair = pairs[std::string(name.substr(0, name.size() - whole.size()))];
        (matrix == ".lora_A" ? pair.a : pair.b) = &spec;
        placed = true;
      }
    }
    if (!placed)
      throw CheckpointError(
          "{}: expected the matrices lora_A and lora_B alone; found the tensor '{}', which cannot be "
          "merged; merge this adapter with PEFT",
          adapter.file_of(spec.name).string(), spec.name);
  }
  return pairs;
}

void check_pair(const CheckpointReader& base,
                const CheckpointReader& adapter,
                const std::string& module,
                const Pair& pair,
                std::int64_t rank) {
  const std::string file = adapter.file_of((pair.a != nullptr ? pair.a : pair.b)->name).string();
  if (pair.a == nullptr || pair.b == nullptr)
    throw CheckpointError(
        "{}: expected lora_A and lora_B for {}; found only lora_{}; incomplete download or corrupt file?", file, module,
        pair.a != nullptr ? "A" : "B");
  const TensorSpec* const weight = base.find(module + ".weight");
  if (weight == nullptr)
    throw CheckpointError(
        "{}: expected adapters of modules that the base has; found one of '{}', which {} lacks; use the "
        "base model that the adapter was trained on",
        file, module, base.files().front().parent_path().string());
  if (weight->shape.size() != 2 || !at::isFloatingType(weight->dtype))
    throw CheckpointError(
        "{}: expected a matrix of floating numbers to merge '{}' into; found shape {} of {}; use the base "
        "that is not quantised",
        base.file_of(weight->name).string(), module, shape_text(weight->shape), dtype_name(weight->dtype));
  const std::vector<std::int64_t> a{rank, weight->shape[1]};
  const std::vector<std::int64_t> b{weight->shape[0], rank};
  for (const auto& [spec, wanted] : {std::pair{pair.a, a}, std::pair{pair.b, b}})
    if (spec->shape != wanted)
      throw CheckpointError(
          "{}: tensor '{}': expected shape {} for rank {} and the base's {}; found {}; use the base model "
          "that the adapter was trained on",
          file, spec->name, shape_text(wanted), rank, shape_text(weight->shape), shape_text(spec->shape));
}

// What adapter_config.json says is there must be there: a file of which half is missing merges half.
void check_complete(const CheckpointReader& base,
                    const AdapterConfig& config,
                    const fs::path& directory,
                    const std::map<std::string, Pair>& pairs) {
  constexpr std::string_view kWeight = ".weight";
  for (const auto& spec : base.tensors()) {
    if (spec.shape.size() != 2 || !spec.name.ends_with(kWeight) || !spec.name.starts_with("model.layers.")) continue;
    const std::string module = spec.name.substr(0, spec.name.size() - kWeight.size());
    if (config.covers(module) && !pairs.contains(module))
      throw CheckpointError(
          "{}: expected matrices for {}, which adapter_config.json covers; found none; use the weights "
          "that belong to the file",
          directory.string(), module);
  }
}

}  // namespace

MergePlan::MergePlan(const CheckpointReader& base, const std::vector<fs::path>& adapter_directories) {
  for (const auto& directory : adapter_directories) add_adapter(base, directory);
}

void MergePlan::add_adapter(const CheckpointReader& base, const fs::path& directory) {
  const AdapterConfig config = read_adapter_config(directory);
  adapters_.push_back(CheckpointReader::open_adapter(directory));
  const CheckpointReader& adapter = adapters_.back();
  const auto pairs = find_pairs(adapter);
  check_complete(base, config, directory, pairs);
  for (const auto& [module, pair] : pairs) {
    check_pair(base, adapter, module, pair, config.rank_of(module));
    steps_[module + ".weight"].push_back({pair.a->name, pair.b->name, config.scaling_of(module), adapters_.size() - 1});
  }
}

void MergePlan::load(const std::string& base_tensor, at::ScalarType dtype) {
  if (loaded_name_ == base_tensor) return;
  loaded_.clear();
  for (const auto& step : steps_.at(base_tensor)) {
    const CheckpointReader& adapter = adapters_[step.adapter];
    Loaded loaded{adapter.read(step.a, dtype), adapter.read(step.b, dtype), step.scaling};
    for (const auto& [name, matrix] : {std::pair{step.a, loaded.a}, std::pair{step.b, loaded.b}})
      if (!at::isfinite(matrix).all().item<bool>())
        throw CheckpointError(
            "{}: expected finite numbers in '{}'; found infinity or NaN; take an earlier checkpoint of "
            "this adapter",
            adapter.file_of(name).string(), name);
    loaded_.push_back(std::move(loaded));
  }
  loaded_name_ = base_tensor;
}

// The product first, then the scaling, then the sum: the order of PEFT, whose results these are bit for bit.
void MergePlan::add_to_rows(const std::string& base_tensor, std::int64_t first, at::Tensor& rows) {
  load(base_tensor, rows.scalar_type());
  for (const auto& [a, b, scaling] : loaded_) rows.add_(at::mm(b.narrow(0, first, rows.size(0)), a).mul_(scaling));
}

}  // namespace baichuan
