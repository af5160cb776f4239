// A small base model and adapters on disk, for the tests of export.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "io/checkpoint_reader.h"
#include "io/checkpoint_writer.h"
#include "tests/model/test_models.h"
#include "tests/scratch_directory.h"

namespace baichuan {

inline std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

inline void save_tensors(const fs::path& directory,
                         const NamedTensors& tensors,
                         const CheckpointWriteOptions& options) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, value] : tensors) specs.push_back({name, value.scalar_type(), value.sizes().vec()});
  CheckpointWriter writer(directory, specs, options);
  for (const auto& [name, value] : tensors) writer.write(name, value);
  writer.finish();
}

// base/ with weights of `dtype` and config.json.
inline void save_base(const fs::path& directory,
                      const BaichuanConfig& config,
                      std::int64_t seed,
                      at::ScalarType dtype) {
  NamedTensors tensors;
  for (const auto& item : hashed_model(config, seed, dtype)->named_parameters())
    tensors.emplace_back(item.key(), item.value().detach());
  save_tensors(directory, tensors, {.max_shard_bytes = 500'000});
  write_json_file(directory / "config.json", to_config_json(config, dtype_name(dtype)));
}

// {"r": 4, "lora_alpha": 8, "target_modules": ["W_pack"]} with changes.
inline Json adapter_json(const Json& changes = Json::object()) {
  Json json = {{"peft_type", "LORA"}, {"r", 4}, {"lora_alpha", 8}, {"target_modules", {"W_pack"}}};
  json.update(changes);
  return json;
}

inline void save_adapter(const fs::path& directory, const Json& config, const NamedTensors& tensors) {
  save_tensors(directory, tensors, {.stem = "adapter_model"});
  write_json_file(directory / "adapter_config.json", config);
}

// Random matrices for W_pack of both layers of small_config().
inline NamedTensors adapter_matrices(std::int64_t seed, std::int64_t rank = 4) {
  torch::manual_seed(static_cast<std::uint64_t>(seed));
  NamedTensors tensors;
  for (int layer = 0; layer < 2; ++layer) {
    const std::string module = fmt::format("base_model.model.model.layers.{}.self_attn.W_pack", layer);
    tensors.emplace_back(module + ".lora_A.weight", torch::randn({rank, 160}) * 0.1);
    tensors.emplace_back(module + ".lora_B.weight", torch::randn({480, rank}) * 0.1);
  }
  return tensors;
}

}  // namespace baichuan
