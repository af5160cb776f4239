// The shape of a Baichuan decoder, read from a model directory's config.json or taken from a preset.
// No LibTorch here: `plan` and `init --help` read configurations too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "core/json.h"

namespace baichuan {

namespace fs = std::filesystem;

enum class PositionEmbedding { kAlibi, kRope };

struct BaichuanConfig {
  // Architecture: no value of its own. A key that is missing in config.json is an error, never a 13B by accident.
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t max_positions = 0;  // tokens the model was trained for; longer inputs work
  double rms_norm_eps = 0;
  PositionEmbedding position = PositionEmbedding::kAlibi;
  bool norm_head = false;  // Baichuan 2: rows of the output matrix have length 1

  int64_t bos_token_id = 1;
  int64_t eos_token_id = 2;
  int64_t pad_token_id = 0;
  double initializer_range = 0.02;

  Json source;  // config.json as it was read; null for presets

  int64_t head_dim() const { return hidden_size / num_heads; }
  int64_t num_parameters() const;
  // Throws ConfigError naming every broken rule.
  void validate() const;
};

// From a model directory or a JSON file in the form of config.json. Throws ConfigError naming the file and every
// missing key, wrong type and broken rule at once, or the architecture when it is not Baichuan's.
BaichuanConfig load_baichuan_config(const fs::path& model_directory_or_json);

// Rules of load_baichuan_config on a JSON value; `origin` names it in messages.
BaichuanConfig parse_baichuan_config(const Json& json, std::string_view origin);

// "tiny", "7b", "13b", "baichuan2-7b" or "baichuan2-13b"; throws UsageError for anything else. The vocabulary of
// "tiny" is 0: it is the tokenizer's.
BaichuanConfig preset_config(std::string_view preset);

// config.json as transformers (with Baichuan's remote code), vLLM and llama.cpp's converter read it. Keys that were
// in `source`, auto_map among them, are kept.
OrderedJson to_config_json(const BaichuanConfig& config, std::string_view torch_dtype);

}  // namespace baichuan
