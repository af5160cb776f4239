// Random models of a shape that exercises every branch: 5 heads (ALiBi slopes beyond a power of two), 2 layers.
#pragma once

#include <cstdint>
#include <memory>

#include "model/baichuan_for_causal_lm.h"
#include "model/load_weights.h"

namespace baichuan {

inline BaichuanConfig tiny_config(PositionEmbedding position) {
  BaichuanConfig config;
  config.vocab_size = 97;
  config.hidden_size = 40;
  config.intermediate_size = 72;
  config.num_layers = 2;
  config.num_heads = 5;
  config.max_positions = 64;
  config.rms_norm_eps = 1e-6;
  config.position = position;
  return config;
}

// Weights wide enough that the likeliest token is not the same everywhere.
inline std::shared_ptr<BaichuanForCausalLM> tiny_model(PositionEmbedding position,
                                                       at::ScalarType dtype = at::kFloat,
                                                       std::uint64_t seed = 5) {
  auto model = std::make_shared<BaichuanForCausalLM>(tiny_config(position), at::TensorOptions().dtype(dtype));
  init_weights(*model, seed, 0.3);
  return model;
}

}  // namespace baichuan
