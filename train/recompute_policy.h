// How many layers drop their activations and compute them again in the backward pass.
#pragma once

#include <cstdint>
#include <string>

namespace baichuan {

class BaichuanForCausalLM;

// Bytes that one layer keeps for its backward pass, for one token: what autograd saves of the norms, the projections'
// inputs, attention and the gated unit. An upper estimate.
std::int64_t activation_bytes_per_token(const BaichuanForCausalLM& model);

// `text` is a number of layers, "all", "none" or "auto": as few as let the activations of a micro-batch of
// batch_size rows of `longest` tokens fit in half of the memory that is free now. `compat_2023` makes auto all layers.
std::int64_t recompute_layers(const std::string& text,
                              bool compat_2023,
                              const BaichuanForCausalLM& model,
                              std::int64_t batch_size,
                              std::int64_t longest);

}  // namespace baichuan
