// The optimiser's state in checkpoints: moments, and masters where the saved weights round them. Of one rank,
// optimizer.safetensors; of several, optimizer-00001-of-00004.safetensors and so on, each with its rank's elements. Any
// number of ranks loads what any other has saved.
//
// A tensor is called "<parameter>.exp_avg", or, where a rank has only elements 100 to 199 of the parameter,
// "<parameter>.exp_avg[100:200]", one-dimensional then.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "train/checkpoint_part.h"
#include "train/optimizer.h"

namespace baichuan {

class CheckpointReader;

void add_optimizer_state(
    CheckpointPart& part, const Optimizer& optimizer, bool with_masters, std::int64_t rank = 0, std::int64_t ranks = 1);
// Masters that the files do not hold stay as they are. Throws CheckpointError naming the tensor that is missing or does
// not fit.
void load_optimizer_state(Optimizer& optimizer, const std::filesystem::path& directory);
// Over all ranks.
std::uint64_t optimizer_state_bytes(const Optimizer& optimizer, bool with_masters);

// Elements `first` to `first + count` of a stored tensor of that shape, in float32, flat; reads little more than them.
at::Tensor read_elements(const CheckpointReader& reader,
                         const std::string& name,
                         const std::vector<std::int64_t>& shape,
                         std::int64_t first,
                         std::int64_t count);

}  // namespace baichuan
