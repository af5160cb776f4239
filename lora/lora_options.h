// Options of a new adapter. Defaults of LLaMA-Efficient-Tuning in mid-2023, but for the target, which was one of a
// model that has no W_pack.
#pragma once

#include <cstdint>
#include <string>

#include "core/options.h"

namespace baichuan {

struct LoraOptions {
  std::int64_t lora_rank = 8;
  double lora_alpha = 32;
  double lora_dropout = 0.1;
  std::string lora_target = "W_pack";

  static void describe(auto&& field) {
    using O = LoraOptions;
    field(&O::lora_rank, {.name = "lora_rank", .help = "Rank of the adapter's matrices.", .range = {1, 65536}});
    field(&O::lora_alpha, {.name = "lora_alpha", .help = "The update is scaled by lora_alpha / lora_rank."});
    field(&O::lora_dropout, {.name = "lora_dropout",
                             .help = "Share of the adapter's inputs that are dropped in training.",
                             .range = {0, 0.99}});
    field(
        &O::lora_target,
        {.name = "lora_target",
         .help = "Projections to adapt, separated by commas: W_pack, o_proj, gate_proj, up_proj, down_proj, or all."});
  }
};

}  // namespace baichuan
