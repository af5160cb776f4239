// generation_config.json: what a model's makers recommend, and how it is combined with what a user asks for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "infer/generation_options.h"
#include "infer/sampler.h"
#include "model/baichuan_config.h"

namespace baichuan {

struct GenerationConfig {
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<std::int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> repetition_penalty;
  std::optional<std::int64_t> max_new_tokens;
  std::vector<std::int32_t> eos_token_ids;  // empty when the file does not name any
  std::int32_t user_token_id = 195;         // <reserved_102>
  std::int32_t assistant_token_id = 196;    // <reserved_103>
};

// The file of a model directory; what was published with such a model (default_generation_config) when there is none.
// Throws ConfigError naming file and key when a value has the wrong type or lies outside its range.
GenerationConfig load_generation_config(const std::filesystem::path& model_directory, const BaichuanConfig& model);

// Flag, else generation_config.json, else, for what that file leaves out, transformers' default (greedy; 1.0, top_k 50,
// 1.0, 1.0).
SamplingOptions resolve_sampling(const GenerationOptions& options, const GenerationConfig& config);

}  // namespace baichuan
