// A model's trained parameters, divided among the ranks of a run.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "distributed/sharded_parameters.h"

namespace baichuan {

class BaichuanForCausalLM;

// The unit of the model that a parameter (or an adapter's) belongs to: 0 the embedding, 1 + n layer n, then the head.
std::size_t model_unit_of(const std::string& parameter, std::size_t layers);

// Makes the parameters views of flat tensors, a unit each, and lets the model wait for a unit's new values before it
// computes with them. Nothing may hold on to the parameters' memory of before. Model and group must outlive the result.
std::unique_ptr<ShardedParameters> shard_model(BaichuanForCausalLM& model,
                                               const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                                               ProcessGroup& group,
                                               const ShardingOptions& options);

}  // namespace baichuan
