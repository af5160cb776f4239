// Small models for the tests of model/, with weights that the reference in tools/oracles makes too.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "core/json.h"
#include "model/baichuan_for_causal_lm.h"

namespace baichuan {

// 2 layers, 5 heads of 32, feed-forward 432, 320 tokens.
BaichuanConfig small_config(PositionEmbedding position);

// `count` numbers in [0, 1): splitmix64 of seed * 2^32 + index, its upper 24 bits.
at::Tensor hashed(int64_t seed, int64_t count);
at::Tensor hashed_ids(const BaichuanConfig& config, int64_t seed, int64_t length);  // [1, length]
// A model with the reference's weights, rounded to dtype.
std::shared_ptr<BaichuanForCausalLM> hashed_model(const BaichuanConfig& config,
                                                  int64_t seed,
                                                  at::ScalarType dtype = at::kFloat);

// Every parameter is trained.
void train_everything(BaichuanForCausalLM& model);

// Largest absolute difference, in float64.
double largest_difference(const at::Tensor& a, const at::Tensor& b);
// The same over the largest absolute value of b.
double relative_difference(const at::Tensor& a, const at::Tensor& b);

}  // namespace baichuan
