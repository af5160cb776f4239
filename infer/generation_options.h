// How text is generated: what a command line may set. Whatever is unset is taken from the model's
// generation_config.json (without the file: from the published one), and what that leaves open from the defaults of
// Hugging Face (see resolve_sampling).
#pragma once

#include <cstdint>
#include <optional>

#include "core/error.h"
#include "core/options.h"

namespace baichuan {

struct GenerationOptions {
  std::optional<std::int64_t> max_new_tokens;
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<std::int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> repetition_penalty;
  std::int64_t num_beams = 1;
  std::optional<std::int64_t> max_length;
  double length_penalty = 1.0;

  static void describe(auto&& field) {
    using O = GenerationOptions;
    field(&O::max_new_tokens, {.name = "max_new_tokens",
                               .help = "Longest reply; unset: the model's generation_config.json, else 2048.",
                               .unit = "tokens",
                               .range = {.min = 1}});
    field(&O::do_sample,
          {.name = "do_sample", .help = "Draw from the distribution; false takes the likeliest token (greedy)."});
    field(&O::temperature, {.name = "temperature",
                            .help = "Divides the logits before sampling; 0 is greedy.",
                            .range = {.min = 0, .max = 1e4}});
    field(&O::top_k, {.name = "top_k",
                      .help = "Sample among the k likeliest tokens, with every tie at the k-th place; 0 keeps all.",
                      .unit = "tokens",
                      .range = {.min = 0}});
    field(&O::top_p, {.name = "top_p",
                      .help = "Sample among the likeliest tokens that together reach this probability; 1 keeps all.",
                      .range = {.min = 0, .max = 1}});
    field(&O::repetition_penalty,
          {.name = "repetition_penalty",
           .help = "Divides positive logits of tokens seen before and multiplies negative ones; 1 does nothing.",
           .range = {.min = 1e-3, .max = 1e3}});
    field(&O::num_beams, {.name = "num_beams", .help = "Beams; only 1 is built.", .range = {.min = 1}});
    field(&O::max_length, {.name = "max_length",
                           .help = "Longest prompt and reply together; give max_new_tokens instead.",
                           .unit = "tokens",
                           .support = Support::kNotBuilt});
    field(&O::length_penalty, {.name = "length_penalty",
                               .help = "Exponent of a beam's length; without beams it changes nothing.",
                               .support = Support::kNoEffect});
  }

  void validate() const {
    if (num_beams != 1) throw UsageError("--num_beams must be 1: beam search is not built; found {}", num_beams);
  }
};

}  // namespace baichuan
