// Options of low-rank adaptation.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace baichuan {

struct LoraOptions {
  std::int64_t lora_rank = 8;
  double lora_alpha = 32;
  double lora_dropout = 0.1;
  std::string lora_target = "W_pack";

  static void describe(auto&& field) {
    using O = LoraOptions;
    field(&O::lora_rank, {.name = "lora_rank", .help = "Rank of the adapters.", .range = {.min = 1}});
    field(&O::lora_alpha,
          {.name = "lora_alpha", .help = "Adapters are multiplied by lora_alpha / lora_rank.", .range = {.min = 0}});
    field(&O::lora_dropout, {.name = "lora_dropout",
                             .help = "Share of an adapter's input that is dropped in training.",
                             .range = {.min = 0, .max = 0.999}});
    field(&O::lora_target,
          {.name = "lora_target",
           .help = "Projections that get an adapter: names separated by commas (W_pack, o_proj, gate_proj, up_proj, "
                   "down_proj), or all."});
  }
};

// The projections named by --lora_target, each once, in the order given; `all` is every projection of a decoder layer
// (lm_head is none). Throws UsageError that lists the possible names.
std::vector<std::string> parse_lora_target(std::string_view target);

}  // namespace baichuan
