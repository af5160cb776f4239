// The composition root: the one place where a model is put together, in this order: resolve the name, load the
// weights, choose the attention arithmetic, attach adapters. Chat, score and export --verify receive the result.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include <ATen/core/Tensor.h>

#include "app/model_options.h"
#include "lora/adapter.h"
#include "model/baichuan_for_causal_lm.h"

namespace baichuan {

struct AssembledModel {
  std::shared_ptr<BaichuanForCausalLM> model;
  std::optional<LoraAdapter> adapter;  // the last of --adapter_name_or_path; those before it are merged
  std::filesystem::path directory;
  BaichuanConfig config;
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
};

// In evaluation mode, without gradients.
AssembledModel assemble_model(const ModelOptions& options);

}  // namespace baichuan
