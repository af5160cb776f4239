// How a model that generates or scores is held in memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/options.h"

namespace baichuan {

struct QuantizationOptions {
  std::optional<std::int64_t> quantization_bit;
  std::int64_t group_size = 0;
  std::string kv_cache_dtype = "auto";
  bool quantize_embeddings = false;

  static void describe(auto&& field) {
    using O = QuantizationOptions;
    field(&O::quantization_bit, {.name = "quantization_bit",
                                 .help = "Holds the projections in 8 or 4 bits.",
                                 .unit = "bits",
                                 .support = Support::kNotBuilt});
    field(&O::group_size,
          {.name = "group_size",
           .help = "Weights that share a scale: 32, 64 or 128; 0 is a whole row, as the official quantiser.",
           .unit = "weights",
           .support = Support::kNotBuilt});
    field(&O::kv_cache_dtype, {.name = "kv_cache_dtype",
                               .help = "Type of cached keys and values; auto is the model's.",
                               .choices = "auto|fp32|bf16|fp16|int8",
                               .support = Support::kNotBuilt});
    field(&O::quantize_embeddings, {.name = "quantize_embeddings",
                                    .help = "Holds embedding and output matrix in few bits too.",
                                    .support = Support::kNotBuilt});
  }
};

}  // namespace baichuan
