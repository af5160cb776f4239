#include "train/shard_model.h"

#include <charconv>
#include <optional>

#include <torch/torch.h>

#include "model/baichuan_for_causal_lm.h"

namespace baichuan {

std::size_t model_unit_of(const std::string& parameter, std::size_t layers) {
  constexpr std::string_view kLayers = "layers.";
  if (const auto at = parameter.find(kLayers); at != std::string::npos) {
    std::size_t layer = 0;
    const char* const end = parameter.data() + parameter.size();
    std::from_chars(parameter.data() + at + kLayers.size(), end, layer);
    return layer + 1;
  }
  return parameter.find("embed_tokens") != std::string::npos ? 0 : layers + 1;
}

std::unique_ptr<ShardedParameters> shard_model(BaichuanForCausalLM& model,
                                               const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                                               ProcessGroup& group,
                                               const ShardingOptions& options) {
  const std::size_t layers = model.model->layers.size();
  std::vector<ParameterUnit> by_model_unit(layers + 2);
  for (const auto& [name, parameter] : parameters)
    by_model_unit[model_unit_of(name, layers)].parameters.emplace_back(name, parameter);
  std::vector<ParameterUnit> units;
  std::vector<std::optional<std::size_t>> place(layers + 2);  // units without trained parameters have none
  for (std::size_t u = 0; u < by_model_unit.size(); ++u) {
    if (by_model_unit[u].parameters.empty()) continue;
    by_model_unit[u].name = u == 0 ? "embedding" : u > layers ? "head" : "layer " + std::to_string(u - 1);
    place[u] = units.size();
    units.push_back(std::move(by_model_unit[u]));
  }
  auto sharded = std::make_unique<ShardedParameters>(std::move(units), group, options);
  model.model->before_unit = [owner = sharded.get(), place](std::size_t unit) {
    if (place[unit]) owner->wait_for(*place[unit]);
  };
  return sharded;
}

}  // namespace baichuan
