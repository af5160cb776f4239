// A LoRA adapter on a model: attached, loaded, saved in PEFT's format, merged.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lora/adapter_config.h"
#include "lora/lora_linear.h"
#include "lora/lora_options.h"

namespace baichuan {

class BaichuanForCausalLM;

class LoraAdapter {
 public:
  // A fresh adapter: A uniform in ±1/sqrt(in) (a function of seed and projection), B zero, both trainable. Throws
  // UsageError for a target that the model does not have, naming those it has.
  static LoraAdapter attach(BaichuanForCausalLM& model, const LoraOptions& options, std::uint64_t seed);
  // The adapter of a PEFT directory, trainable, with `dropout` in training. Throws CheckpointError.
  static LoraAdapter load(BaichuanForCausalLM& model, const std::filesystem::path& directory, double dropout);
  // Several adapters: all but the last are merged into the base, the last is attached.
  static LoraAdapter load_all(BaichuanForCausalLM& model,
                              const std::vector<std::filesystem::path>& directories,
                              double dropout);

  // adapter_model.safetensors and adapter_config.json.
  void save(const std::filesystem::path& directory, const std::string& base_model) const;
  // Reads the weights of a directory that save() wrote into the attached tensors.
  void load_weights(const std::filesystem::path& directory);

  // Names as in adapter_model.safetensors.
  std::vector<std::pair<std::string, at::Tensor>> parameters() const;
  void set_dropout_key(const DropoutKey& key) { state_->key = key; }
  void set_training(bool training) { state_->training = training; }
  void set_enabled(bool enabled) { state_->enabled = enabled; }

  // W += scaling B A in float32, rounded once to the weight's dtype; the model then has its plain projections again.
  // Throws CheckpointError where a projection is not a plain matrix.
  void merge_into_base(BaichuanForCausalLM& model);

 private:
  struct Slot {
    std::string module;  // "model.layers.0.self_attn.W_pack"
    std::shared_ptr<LoraLinear> projection;
  };

  std::shared_ptr<AdapterState> state_ = std::make_shared<AdapterState>();
  AdapterConfig config_;
  std::vector<Slot> slots_;
};

// Loads an adapter and merges it at once.
void merge_adapter(BaichuanForCausalLM& model, const std::filesystem::path& directory);

// W + scaling B A, computed in float32 and rounded once to W's dtype. W [out, in], A [rank, in], B [out, rank].
at::Tensor merged_weight(const at::Tensor& weight, const at::Tensor& lora_A, const at::Tensor& lora_B, double scaling);

// The directories of --adapter_name_or_path "a,b".
std::vector<std::filesystem::path> split_adapter_list(const std::string& list);

}  // namespace baichuan
