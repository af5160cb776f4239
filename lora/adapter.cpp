#include "lora/adapter.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <torch/torch.h>

#include "core/error.h"
#include "core/philox.h"
#include "io/checkpoint_reader.h"
#include "io/checkpoint_writer.h"
#include "model/baichuan_for_causal_lm.h"

namespace baichuan {

namespace {

// "model.layers.3.mlp.up_proj" -> "up_proj"
std::string last_part(const std::string& module) {
  return module.substr(module.rfind('.') + 1);
}

std::vector<std::string> projection_kinds(BaichuanForCausalLM& model) {
  std::vector<std::string> kinds;
  model.for_each_projection([&](const std::string& name, std::shared_ptr<Projection>&) {
    const auto kind = last_part(name);
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
  });
  return kinds;
}

std::vector<std::string> resolve_targets(BaichuanForCausalLM& model, const std::string& text) {
  const auto kinds = projection_kinds(model);
  const auto wanted = split_names(text);
  if (wanted == std::vector<std::string>{"all"}) return kinds;
  for (const auto& name : wanted) {
    if (std::find(kinds.begin(), kinds.end(), name) != kinds.end()) continue;
    const bool packed = name == "q_proj" || name == "k_proj" || name == "v_proj";
    throw UsageError("--lora_target: expected some of {}, or all; found '{}'{}", fmt::join(kinds, ", "), name,
                     packed ? "; Baichuan packs q, k and v in W_pack" : "");
  }
  if (wanted.empty())
    throw UsageError("--lora_target: expected some of {}, or all; found nothing", fmt::join(kinds, ", "));
  return wanted;
}

// A uniform in ±1/sqrt(in): kaiming_uniform with a = sqrt(5), as PEFT and torch.nn.Linear do. Philox by projection, so
// that no other draw of a run can move it.
void fill_lora_a(at::Tensor lora_a, std::uint64_t seed, std::int64_t stream) {
  const double bound = 1 / std::sqrt(static_cast<double>(lora_a.size(1)));
  auto values = at::empty(lora_a.sizes(), at::kFloat);
  auto* const out = values.mutable_data_ptr<float>();
  const PhiloxKey key = philox_key(seed, DrawPurpose::kAdapterInit);
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    const auto block = static_cast<std::uint64_t>(i / 4);
    const auto words = philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                                   static_cast<std::uint32_t>(stream), 0},
                                  key);
    const double unit = (words[static_cast<std::size_t>(i % 4)] + 0.5) / 4294967296.0;
    out[i] = static_cast<float>((2 * unit - 1) * bound);
  }
  torch::NoGradGuard no_grad;
  lora_a.copy_(values);
}

}  // namespace

LoraAdapter LoraAdapter::attach(BaichuanForCausalLM& model, const LoraOptions& options, std::uint64_t seed) {
  LoraAdapter adapter;
  adapter.state_->training = true;
  const auto targets = resolve_targets(model, options.lora_target);
  adapter.config_.rank = options.lora_rank;
  adapter.config_.alpha = options.lora_alpha;
  adapter.config_.dropout = options.lora_dropout;
  adapter.config_.target_modules = targets;
  std::int64_t stream = 0;
  model.for_each_projection([&](const std::string& name, std::shared_ptr<Projection>& slot) {
    const std::int64_t own_stream = stream++;  // counts every projection, so that it does not depend on the targets
    if (std::find(targets.begin(), targets.end(), last_part(name)) == targets.end()) return;
    auto lora = std::make_shared<LoraLinear>(slot, adapter.state_, options.lora_rank, adapter.config_.scaling_of(name),
                                             options.lora_dropout, own_stream, model.device());
    fill_lora_a(lora->lora_A, seed, own_stream);
    torch::NoGradGuard no_grad;
    lora->lora_B.zero_();
    adapter.slots_.push_back({name, lora});
    slot = lora;
  });
  return adapter;
}

LoraAdapter LoraAdapter::load(BaichuanForCausalLM& model, const std::filesystem::path& directory, double dropout) {
  LoraAdapter adapter;
  adapter.state_->training = true;
  adapter.config_ = read_adapter_config(directory);
  adapter.config_.dropout = dropout;
  const auto reader = CheckpointReader::open_adapter(directory);
  std::set<std::string> modules;
  for (const auto& spec : reader.tensors()) {
    const auto module = adapter_module_of(spec.name);
    if (module.empty())
      throw CheckpointError("{}: expected LoRA tensors named base_model.model.….lora_A.weight; found '{}'",
                            reader.file_of(spec.name).string(), spec.name);
    modules.insert(module);
  }
  std::int64_t stream = 0;
  model.for_each_projection([&](const std::string& name, std::shared_ptr<Projection>& slot) {
    const std::int64_t own_stream = stream++;
    if (modules.erase(name) == 0) return;
    const auto lora =
        std::make_shared<LoraLinear>(slot, adapter.state_, adapter.config_.rank_of(name),
                                     adapter.config_.scaling_of(name), dropout, own_stream, model.device());
    adapter.slots_.push_back({name, lora});
    slot = lora;
  });
  if (!modules.empty())
    throw CheckpointError("{}: the adapter changes '{}', which the model does not have; it belongs to another base",
                          directory.string(), *modules.begin());
  if (adapter.slots_.empty()) throw CheckpointError("{}: the adapter holds no tensors", directory.string());
  adapter.load_weights(directory);
  return adapter;
}

LoraAdapter LoraAdapter::load_all(BaichuanForCausalLM& model,
                                  const std::vector<std::filesystem::path>& directories,
                                  double dropout) {
  for (std::size_t i = 0; i + 1 < directories.size(); ++i) merge_adapter(model, directories[i]);
  return load(model, directories.back(), dropout);
}

void LoraAdapter::load_weights(const std::filesystem::path& directory) {
  const auto reader = CheckpointReader::open_adapter(directory);
  torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : parameters()) {
    // Some versions of PEFT leave the adapter's name in.
    auto stored = name;
    if (reader.find(stored) == nullptr) stored.insert(stored.rfind(".weight"), ".default");
    at::Tensor destination = tensor.detach();
    reader.read_into(reader.find(stored) == nullptr ? name : stored, destination);
  }
}

void LoraAdapter::save(const std::filesystem::path& directory, const std::string& base_model) const {
  std::vector<TensorSpec> specs;
  const auto tensors = parameters();
  for (const auto& [name, tensor] : tensors) specs.push_back({name, at::kFloat, tensor.sizes().vec()});
  CheckpointWriteOptions options;
  options.stem = "adapter_model";
  options.max_shard_bytes = std::numeric_limits<std::int64_t>::max();
  CheckpointWriter writer(directory, specs, options);
  for (const auto& [name, tensor] : tensors) writer.write(name, tensor.detach());
  writer.finish();
  AdapterConfig config = config_;
  config.base_model = base_model;
  write_adapter_config(directory, config);
}

std::vector<std::pair<std::string, at::Tensor>> LoraAdapter::parameters() const {
  std::vector<std::pair<std::string, at::Tensor>> result;
  for (const auto& slot : slots_) {
    result.emplace_back(adapter_tensor_name(slot.module, "lora_A"), slot.projection->lora_A);
    result.emplace_back(adapter_tensor_name(slot.module, "lora_B"), slot.projection->lora_B);
  }
  return result;
}

void LoraAdapter::merge_into_base(BaichuanForCausalLM& model) {
  torch::NoGradGuard no_grad;
  model.for_each_projection([&](const std::string& name, std::shared_ptr<Projection>& slot) {
    const auto found = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& s) { return s.module == name; });
    if (found == slots_.end()) return;
    const auto dense = std::dynamic_pointer_cast<DenseProjection>(found->projection->base);
    if (!dense)
      throw CheckpointError("cannot merge into {}: its weights are quantised; load the base unquantised", name);
    const auto& lora = *found->projection;
    dense->weight.copy_(merged_weight(dense->weight, lora.lora_A, lora.lora_B, lora.scaling()));
    slot = dense;
  });
  slots_.clear();
}

void merge_adapter(BaichuanForCausalLM& model, const std::filesystem::path& directory) {
  LoraAdapter::load(model, directory, 0).merge_into_base(model);
}

at::Tensor merged_weight(const at::Tensor& weight, const at::Tensor& lora_A, const at::Tensor& lora_B, double scaling) {
  return at::addmm(weight.to(at::kFloat), lora_B.to(at::kFloat), lora_A.to(at::kFloat), 1, scaling)
      .to(weight.scalar_type());
}

std::vector<std::filesystem::path> split_adapter_list(const std::string& list) {
  std::vector<std::filesystem::path> directories;
  for (const auto& name : split_names(list)) directories.emplace_back(name);
  if (directories.empty()) throw UsageError("--adapter_name_or_path: expected adapter directories; found none");
  return directories;
}

}  // namespace baichuan
