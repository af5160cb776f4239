#include "model/load_weights.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include <torch/torch.h>

#include "core/error.h"

namespace baichuan {

namespace {

constexpr std::size_t kMostNamed = 4;  // tensors of one kind of problem that a message lists

// Buffers that some tools store with the weights. The model computes them itself, in better precision.
bool is_derived(std::string_view name) {
  for (const std::string_view ending : {"rotary_emb.inv_freq", "decoder.version", "future_mask", "alibi_mask"})
    if (name.ends_with(ending)) return true;
  return false;
}

std::string list_of(const std::vector<std::string>& items) {
  const auto shown = std::min(items.size(), kMostNamed);
  std::string text =
      fmt::format("{}", fmt::join(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
  if (shown < items.size()) text += fmt::format(" and {} more", items.size() - shown);
  return text;
}

std::string shape_of(const BaichuanConfig& c) {
  return fmt::format(
      "vocab_size={}, hidden_size={}, intermediate_size={}, num_hidden_layers={}, num_attention_heads={}", c.vocab_size,
      c.hidden_size, c.intermediate_size, c.num_layers, c.num_heads);
}

// What a checkpoint has and a model wants, compared by name and shape.
struct Comparison {
  std::vector<std::string> missing, unexpected, misshaped;
};

Comparison compare(const std::map<std::string, at::Tensor>& wanted, const CheckpointReader& reader) {
  Comparison result;
  for (const auto& [name, parameter] : wanted) {
    const TensorSpec* found = reader.find(name);
    if (found == nullptr)
      result.missing.push_back(name);
    else if (at::IntArrayRef(found->shape) != parameter.sizes())
      result.misshaped.push_back(fmt::format("{} in {}: expected {}, found {}", name, reader.file_of(name).string(),
                                             shape_text(parameter.sizes().vec()), shape_text(found->shape)));
  }
  for (const TensorSpec& tensor : reader.tensors())
    if (wanted.count(tensor.name) == 0 && !is_derived(tensor.name))
      result.unexpected.push_back(fmt::format("{} in {}", tensor.name, reader.file_of(tensor.name).string()));
  return result;
}

void require_match(const Comparison& c, const CheckpointReader& reader, const BaichuanConfig& config) {
  if (c.missing.empty() && c.unexpected.empty() && c.misshaped.empty()) return;
  std::vector<std::string> problems;
  if (!c.misshaped.empty()) problems.push_back("wrong shape: " + list_of(c.misshaped));
  if (!c.missing.empty()) problems.push_back("missing: " + list_of(c.missing));
  if (!c.unexpected.empty()) problems.push_back("not part of the model: " + list_of(c.unexpected));
  const auto files = reader.files();
  const std::string where = files.empty() ? "the checkpoint" : files.front().parent_path().string();
  throw CheckpointError(
      "expected the weights of a model with {}; {}: {}; use the config.json that belongs to these weights, or download "
      "them again",
      shape_of(config), where, fmt::join(problems, "; "));
}

}  // namespace

std::shared_ptr<BaichuanForCausalLM> load_model(const fs::path& directory, const LoadOptions& options) {
  const auto config = load_baichuan_config(directory);
  const auto reader = CheckpointReader::open(directory);
  const auto dtype = options.dtype.value_or(stored_dtype(reader));
  auto model = std::make_shared<BaichuanForCausalLM>(config, at::TensorOptions().dtype(dtype).device(options.device));
  load_weights(*model, reader);
  return model;
}

void load_weights(BaichuanForCausalLM& model, const CheckpointReader& reader) {
  std::map<std::string, at::Tensor> wanted;
  for (auto& item : model.named_parameters()) wanted.emplace(item.key(), item.value().detach());
  require_match(compare(wanted, reader), reader, model.config());
  std::vector<ReadRequest> requests;
  requests.reserve(wanted.size());
  for (const auto& [name, parameter] : wanted) requests.push_back({name, parameter});
  reader.read_all(requests);
}

at::ScalarType stored_dtype(const CheckpointReader& reader) {
  std::map<at::ScalarType, int64_t> elements;
  for (const TensorSpec& tensor : reader.tensors())
    if (at::isFloatingType(tensor.dtype)) elements[tensor.dtype] += tensor.numel();
  if (elements.empty()) throw CheckpointError("expected weights of a floating type; the checkpoint has none");
  return std::max_element(elements.begin(), elements.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

}  // namespace baichuan
