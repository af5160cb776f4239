// adapter_config.json in PEFT's format: which modules have an adapter, and by what it is multiplied.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace baichuan {

namespace fs = std::filesystem;

// PEFT's wrapper modules, which stand before the model's own names in an adapter's file.
inline constexpr std::string_view kPeftPrefix = "base_model.model.";

struct AdapterConfig {
  std::int64_t rank = 0;
  double alpha = 0;
  double dropout = 0;
  bool rank_stabilized = false;      // use_rslora: alpha / sqrt(rank) instead of alpha / rank
  std::vector<std::string> targets;  // a module is meant by its name or by what follows a dot in it
  std::string target_expression;     // target_modules given as a regular expression over the whole name
  std::vector<std::int64_t> layers;  // layers_to_transform; empty: all
  // The first entry whose key (a regular expression) matches the end of a module's name replaces rank or alpha.
  std::vector<std::pair<std::string, std::int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;

  // `module` as "model.layers.0.self_attn.W_pack".
  bool covers(std::string_view module) const;
  std::int64_t rank_of(std::string_view module) const;
  double scaling_of(std::string_view module) const;
};

// Keys that change nothing in the arithmetic are ignored, also unknown ones; what would change it and is not built
// (DoRA, trained biases, modules_to_save, ...) is refused by name. Throws CheckpointError.
AdapterConfig read_adapter_config(const fs::path& adapter_directory);

// What PEFT needs to read the adapter back, keys sorted.
Json adapter_config_json(const AdapterConfig& config, const std::string& base_model_name);

}  // namespace baichuan
