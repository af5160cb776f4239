// adapter_config.json of PEFT: what it says about the maths. Unknown keys that do not change it are ignored, those that
// do are refused by name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace baichuan {

struct AdapterConfig {
  std::int64_t rank = 8;
  double alpha = 8;
  double dropout = 0;
  std::vector<std::string> target_modules;
  std::map<std::string, std::int64_t> rank_pattern;  // module name (or its end) -> rank
  std::map<std::string, double> alpha_pattern;
  bool use_rslora = false;
  bool fan_in_fan_out = false;
  std::string base_model;  // may be empty

  // alpha / rank of one module, such as "model.layers.0.self_attn.W_pack"; alpha / sqrt(rank) with rsLoRA.
  double scaling_of(std::string_view module) const;
  std::int64_t rank_of(std::string_view module) const;
};

// Throws CheckpointError naming file and key.
AdapterConfig read_adapter_config(const std::filesystem::path& adapter_directory);
// The keys that PEFT 0.4 writes, sorted, indent 2.
void write_adapter_config(const std::filesystem::path& adapter_directory, const AdapterConfig& config);

// "base_model.model.model.layers.0.self_attn.W_pack.lora_A.weight" for module "model.layers.0.self_attn.W_pack" and
// part "lora_A".
std::string adapter_tensor_name(std::string_view module, std::string_view part);
// The module of such a name; empty when it is of another form.
std::string adapter_module_of(std::string_view tensor_name);

// "a, b,c" -> {"a", "b", "c"}
std::vector<std::string> split_names(std::string_view list);

}  // namespace baichuan
