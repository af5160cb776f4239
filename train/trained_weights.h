// What a run trains, and how it is stored: the adapter in PEFT's format, or the whole model as a Hugging Face
// directory. The optimiser's state stands beside it in checkpoints.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "train/checkpoint_part.h"
#include "train/optimizer.h"

namespace baichuan {

class BaichuanForCausalLM;
class LoraAdapter;

class TrainedWeights {
 public:
  virtual ~TrainedWeights() = default;

  // Leaves with gradients, under their checkpoint names.
  virtual std::vector<std::pair<std::string, at::Tensor>> parameters() = 0;
  // Weights that other commands load, from the optimiser's float32 masters: written at once, in the place of earlier
  // ones. Every rank calls it, the leading one `writes`.
  virtual void save(const std::filesystem::path& directory, const Optimizer& optimizer, bool writes) const = 0;
  // The same files for a checkpoint: what writer `writer` of `writers` has to write of them. Every rank calls it.
  virtual void add_to(CheckpointPart& part,
                      const Optimizer& optimizer,
                      std::int64_t writer,
                      std::int64_t writers) const = 0;
  // Puts weights saved by save() into the optimiser's masters and the model.
  virtual void load(const std::filesystem::path& directory, Optimizer& optimizer) = 0;
  virtual std::uint64_t saved_bytes() const = 0;
  // save() keeps every bit of the masters.
  virtual bool saves_masters() const = 0;
};

// The adapter; `base_name` is written into adapter_config.json.
std::unique_ptr<TrainedWeights> make_adapter_weights(LoraAdapter& adapter, const std::string& base_name);

// Every parameter of the model, stored in the dtypes of `stored_dtypes` (the base's own), with config.json and the
// base directory's tokenizer, generation and licence files.
std::unique_ptr<TrainedWeights> make_model_weights(BaichuanForCausalLM& model,
                                                   const std::filesystem::path& base_directory,
                                                   std::map<std::string, at::ScalarType> stored_dtypes,
                                                   std::int64_t max_shard_bytes = 2'000'000'000);

}  // namespace baichuan
