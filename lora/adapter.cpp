#include "lora/adapter.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/list_text.h"
#include "core/philox.h"
#include "io/checkpoint_reader.h"
#include "io/checkpoint_writer.h"
#include "lora/lora_linear.h"
#include "model/baichuan_for_causal_lm.h"

namespace baichuan {

namespace {

constexpr std::string_view kMatrices[] = {".lora_A.weight", ".lora_B.weight"};

std::string peft_key(const std::string& module, std::string_view matrix) {
  return fmt::format("{}{}{}", kPeftPrefix, module, matrix);
}

// FNV-1a, 64 bits: a name as a number.
std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

// Kaiming uniform with a = sqrt(5), PEFT's choice: uniform in ±1/sqrt(in).
void fill_initial_a(at::Tensor& a, const std::string& module, std::uint64_t seed) {
  const std::uint64_t name = hash_of(module);
  const PhiloxCounter mixed =
      philox4x32({static_cast<std::uint32_t>(name), static_cast<std::uint32_t>(name >> 32), 0, 0},
                 philox_key(seed, DrawPurpose::kAdapterInit));
  const double bound = 1.0 / std::sqrt(static_cast<double>(a.size(1)));
  const at::Tensor values = at::empty(a.sizes(), at::kFloat);
  auto* const out = values.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < values.numel(); i += 4) {
    const auto block = static_cast<std::uint64_t>(i / 4);
    const PhiloxCounter words = philox4x32(
        {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, 0}, {mixed[0], mixed[1]});
    for (std::int64_t k = 0; k < 4 && i + k < values.numel(); ++k) {
      const double unit = (words[static_cast<std::size_t>(k)] + 0.5) / 4294967296.0;
      out[i + k] = static_cast<float>((2 * unit - 1) * bound);
    }
  }
  a.copy_(values);
}

// The name under which the file holds a matrix: with or without PEFT's adapter name in it.
const TensorSpec* find_matrix(const CheckpointReader& reader, const std::string& module, std::string_view matrix) {
  if (const auto* spec = reader.find(peft_key(module, matrix))) return spec;
  const std::string_view letter = matrix.substr(0, matrix.size() - std::string_view(".weight").size());
  return reader.find(peft_key(module, fmt::format("{}.default.weight", letter)));
}

void read_matrix(const CheckpointReader& reader,
                 const fs::path& directory,
                 const std::string& module,
                 std::string_view matrix,
                 at::Tensor destination,
                 std::set<std::string>& used) {
  const TensorSpec* const spec = find_matrix(reader, module, matrix);
  if (spec == nullptr)
    throw CheckpointError(
        "{}: expected the tensor {}, because adapter_config.json covers {}; found none; use the "
        "weights that belong to the file",
        directory.string(), peft_key(module, matrix), module);
  if (spec->shape != destination.sizes().vec())
    throw CheckpointError(
        "{}: expected {} to have shape {} for this model and the rank in adapter_config.json; found "
        "{}; use an adapter that was trained on this base model",
        reader.file_of(spec->name).string(), spec->name, shape_text(destination.sizes()), shape_text(spec->shape));
  used.insert(spec->name);
  reader.read_into(spec->name, destination);
}

}  // namespace

LoraAdapter::LoraAdapter(BaichuanForCausalLM& model, AdapterConfig config)
    : model_(&model), config_(std::move(config)), state_(std::make_shared<LoraState>()) {}

void LoraAdapter::attach_modules() {
  std::int64_t number = 0;
  model_->for_each_projection([&](const std::string& module, std::shared_ptr<Projection>& slot) {
    // Every projection has its number, covered or not: a dropout's draws do not depend on the other targets.
    const std::int64_t own = number++;
    if (!config_.covers(module)) return;
    TORCH_CHECK(std::dynamic_pointer_cast<LoraLinear>(slot) == nullptr, module, " has an adapter already");
    const auto linear = std::make_shared<LoraLinear>(slot, config_.rank_of(module), config_.scaling_of(module),
                                                     config_.dropout, own, state_);
    slot = linear;
    entries_.push_back({module, linear});
  });
}

LoraAdapter LoraAdapter::attach(BaichuanForCausalLM& model, const LoraOptions& options, std::uint64_t seed) {
  AdapterConfig config;
  config.rank = options.lora_rank;
  config.alpha = options.lora_alpha;
  config.dropout = options.lora_dropout;
  config.targets = parse_lora_target(options.lora_target);
  LoraAdapter adapter(model, std::move(config));
  adapter.attach_modules();
  const at::NoGradGuard no_grad;
  for (const Entry& entry : adapter.entries_) fill_initial_a(entry.linear->lora_A, entry.module, seed);
  return adapter;
}

LoraAdapter LoraAdapter::load(BaichuanForCausalLM& model, const fs::path& directory) {
  LoraAdapter adapter(model, read_adapter_config(directory));
  adapter.attach_modules();
  try {
    if (adapter.entries_.empty())
      throw CheckpointError(
          "{}: expected target_modules that name projections of this model, such as W_pack; found "
          "{}; use an adapter that was trained on this base model",
          (directory / "adapter_config.json").string(),
          adapter_config_json(adapter.config_, "")["target_modules"].dump());
    adapter.load_weights(directory);
  } catch (...) {
    adapter.detach();
    throw;
  }
  return adapter;
}

LoraAdapter LoraAdapter::load_all(BaichuanForCausalLM& model,
                                  std::span<const fs::path> directories,
                                  std::optional<double> dropout) {
  TORCH_CHECK(!directories.empty(), "load_all: expected at least one adapter directory");
  for (const fs::path& directory : directories.first(directories.size() - 1)) merge_adapter(model, directory);
  if (!dropout) return load(model, directories.back());
  LoraAdapter adapter = load(model, directories.back());
  adapter.config_.dropout = *dropout;
  for (const Entry& entry : adapter.entries_) entry.linear->set_dropout(*dropout);
  return adapter;
}

void LoraAdapter::load_weights(const fs::path& directory) {
  const at::NoGradGuard no_grad;
  const auto reader = CheckpointReader::open_adapter(directory);
  std::set<std::string> used;
  for (const Entry& entry : entries_) {
    read_matrix(reader, directory, entry.module, kMatrices[0], entry.linear->lora_A, used);
    read_matrix(reader, directory, entry.module, kMatrices[1], entry.linear->lora_B, used);
  }
  for (const TensorSpec& spec : reader.tensors())
    if (!used.contains(spec.name))
      throw CheckpointError(
          "{}: expected the matrices of {} adapters alone; found the tensor {} as well, which this "
          "model has no place for; use an adapter that was trained on this base model",
          reader.file_of(spec.name).string(), entries_.size(), spec.name);
}

void LoraAdapter::save(const fs::path& directory, const std::string& base_model_name) const {
  fs::create_directories(directory);
  write_tensor_file(directory, kAdapterStem, saved_tensors());
  save_config(directory, base_model_name);
}

std::vector<SavedTensor> LoraAdapter::saved_tensors() const {
  std::vector<SavedTensor> tensors;
  for (const auto& [name, value] : parameters()) tensors.push_back({{name, at::kFloat, value.sizes().vec()}, value});
  return tensors;
}

void LoraAdapter::save_config(const fs::path& directory, const std::string& base_model_name) const {
  write_json_file(directory / "adapter_config.json", adapter_config_json(config_, base_model_name));
}

std::vector<std::pair<std::string, at::Tensor>> LoraAdapter::parameters() const {
  std::vector<std::pair<std::string, at::Tensor>> result;
  for (const Entry& entry : entries_) {
    result.emplace_back(peft_key(entry.module, kMatrices[0]), entry.linear->lora_A);
    result.emplace_back(peft_key(entry.module, kMatrices[1]), entry.linear->lora_B);
  }
  return result;
}

void LoraAdapter::set_training(bool training) {
  state_->training = training;
}

void LoraAdapter::set_dropout_key(const DropoutKey& key) {
  state_->key = key;
  state_->training = true;
}

void LoraAdapter::set_enabled(bool enabled) {
  state_->enabled = enabled;
}

void LoraAdapter::merge_into_base() {
  const at::NoGradGuard no_grad;
  // The sum is made in pieces of rows, so that a float32 copy of a whole matrix never exists.
  constexpr std::int64_t kPieceElements = std::int64_t{4} << 20;
  for (const Entry& entry : entries_) {
    auto* const dense = dynamic_cast<DenseProjection*>(entry.linear->base.get());
    if (dense == nullptr)
      throw Error(
          "expected a model with plain weights to merge an adapter into; found {} quantised; load the base "
          "without --quantization_bit",
          entry.module);
    const std::int64_t rows = std::max<std::int64_t>(1, kPieceElements / dense->in_features());
    for (std::int64_t first = 0; first < dense->out_features(); first += rows) {
      const std::int64_t count = std::min(rows, dense->out_features() - first);
      const at::Tensor piece = dense->weight.narrow(0, first, count);
      piece.copy_(piece.to(at::kFloat).add_(entry.linear->delta_rows(first, count)));
    }
  }
  detach();
}

void LoraAdapter::detach() {
  model_->for_each_projection([&](const std::string&, std::shared_ptr<Projection>& slot) {
    for (const Entry& entry : entries_)
      if (slot == entry.linear) slot = entry.linear->base;
  });
  entries_.clear();
}

void merge_adapter(BaichuanForCausalLM& model, const fs::path& directory) {
  LoraAdapter::load(model, directory).merge_into_base();
}

std::vector<fs::path> split_adapter_list(std::string_view list) {
  std::vector<fs::path> directories;
  for (const std::string_view name : split(list, ',')) {
    if (name.empty())
      throw UsageError(
          "--adapter_name_or_path expects directories separated by commas; found '{}'; remove the empty "
          "name",
          list);
    directories.emplace_back(name);
  }
  return directories;
}

}  // namespace baichuan
