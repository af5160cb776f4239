// Weights into a model: from a checkpoint, tensor by tensor, or by a seed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "io/checkpoint_reader.h"
#include "model/baichuan_for_causal_lm.h"

namespace baichuan {

struct LoadOptions {
  std::optional<at::ScalarType> dtype;  // empty: as stored
  at::Device device = at::kCPU;
};

// The model of a Hugging Face directory. Memory in use never exceeds the model by more than the reader's buffers.
// Throws ConfigError and CheckpointError.
std::shared_ptr<BaichuanForCausalLM> load_model(const fs::path& directory, const LoadOptions& options = {});

// Fills every parameter. Tensors that other tools leave in checkpoints and that are computed here (inv_freq, masks)
// are ignored; one that is missing, unexpected or of another shape is named with its file.
void load_weights(BaichuanForCausalLM& model, const CheckpointReader& reader);

// The dtype that holds most of the checkpoint's elements; what config.json says of it does not count.
at::ScalarType stored_dtype(const CheckpointReader& reader);

// Matrices normal(0, std), norms 1: a function of seed, parameter name and element alone. std < 0 takes the
// configuration's initializer_range.
void init_weights(BaichuanForCausalLM& model, uint64_t seed, double std = -1);
// One tensor of it; `name` is the parameter's, `first_element` where in the parameter `destination` begins.
void fill_initial_weight(
    at::Tensor& destination, std::string_view name, uint64_t seed, double std, int64_t first_element = 0);

}  // namespace baichuan
