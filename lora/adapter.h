// Low-rank adapters of a model: attached, loaded, saved, merged. Files are PEFT's: adapter_config.json and
// adapter_model.safetensors (reading .bin too).
//
//   auto adapter = LoraAdapter::attach(*model, options, seed);
//   adapter.set_training(true);
//   adapter.set_dropout_key({seed, step, sample_ids});
//   …
//   adapter.save("runs/lora", "baichuan-inc/Baichuan-13B-Base");
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "io/checkpoint_writer.h"
#include "lora/adapter_config.h"
#include "lora/dropout_key.h"
#include "lora/lora_options.h"

namespace baichuan {

// Of PEFT's file of weights.
inline constexpr const char* kAdapterStem = "adapter_model";

class BaichuanForCausalLM;
class LoraLinear;
struct LoraState;

// Borrows the model, which must outlive it. Can be moved, not copied.
class LoraAdapter {
 public:
  // New adapters: A uniform in ±1/sqrt(in), a function of (seed, module name) alone, and B zero.
  static LoraAdapter attach(BaichuanForCausalLM& model, const LoraOptions& options, std::uint64_t seed);

  // An adapter from disk. Throws CheckpointError naming file, module, what was expected and what was found.
  static LoraAdapter load(BaichuanForCausalLM& model, const fs::path& directory);

  // Several, as the tools of 2023 did: all but the last are merged into the base, the last is returned, to be used or
  // trained on. `dropout` replaces what its file says.
  static LoraAdapter load_all(BaichuanForCausalLM& model,
                              std::span<const fs::path> directories,
                              std::optional<double> dropout = {});

  // Float32, whole or not at all.
  void save(const fs::path& directory, const std::string& base_model_name) const;
  // The two halves of it: <kAdapterStem>.safetensors, and adapter_config.json.
  std::vector<SavedTensor> saved_tensors() const;
  void save_config(const fs::path& directory, const std::string& base_model_name) const;
  // Values for the adapters that are attached already (resuming, the best checkpoint).
  void load_weights(const fs::path& directory);

  // PEFT's names and the trainable tensors (float32, leaves), in the order of the modules.
  std::vector<std::pair<std::string, at::Tensor>> parameters() const;

  // Dropout is on while training, and then needs a key.
  void set_training(bool training);
  void set_dropout_key(const DropoutKey& key);
  // While disabled the base alone answers.
  void set_enabled(bool enabled);

  // W += scaling B A in float32, rounded once to W's dtype; the model is then without adapter and this object empty.
  void merge_into_base();
  // The base as it was; this object is then empty.
  void detach();

  const AdapterConfig& config() const { return config_; }

 private:
  struct Entry {
    std::string module;  // "model.layers.0.self_attn.W_pack"
    std::shared_ptr<LoraLinear> linear;
  };

  LoraAdapter(BaichuanForCausalLM& model, AdapterConfig config);
  void attach_modules();

  BaichuanForCausalLM* model_;
  AdapterConfig config_;
  std::shared_ptr<LoraState> state_;
  std::vector<Entry> entries_;
};

// Loads an adapter and merges it.
void merge_adapter(BaichuanForCausalLM& model, const fs::path& directory);

// "a,b" as two directories; throws UsageError for an empty name.
std::vector<fs::path> split_adapter_list(std::string_view list);

}  // namespace baichuan
