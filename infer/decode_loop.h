// The loop that every generation runs: logits in, a token drawn and handed on, until something ends the reply.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "infer/sampler.h"

namespace baichuan {

struct GenerateOptions {
  SamplingOptions sampling;
  std::uint64_t seed = 42;
  std::uint64_t stream = 0;  // tells replies under one seed apart, e.g. the turns of a conversation
  std::int64_t max_new_tokens = 512;
  std::vector<std::int32_t> stop_ids;             // end a reply and are no part of it
  const std::atomic<int>* interrupted = nullptr;  // stops when not 0; looked at before every token
};

enum class FinishReason {
  kStop,         // a stop id
  kLength,       // max_new_tokens
  kWindow,       // the last position that the model has
  kCallback,     // on_token returned false
  kInterrupted,  // the flag was set
};

// "stop", "length", "window", "callback", "interrupted".
std::string_view to_string(FinishReason reason);

struct GenerationResult {
  std::vector<std::int32_t> ids;  // the reply, without the stop id
  std::optional<std::int32_t> stop_id;
  FinishReason finish = FinishReason::kLength;
  std::int64_t prompt_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;  // from the second token on
};

// Takes the ids that the model has not seen yet and gives the logits [V] after the last of them; an undefined tensor
// when it was interrupted. The first call gets the whole prompt, every later one the token just drawn.
using NextLogits = std::function<at::Tensor(std::span<const std::int32_t> ids)>;

// Sees each new token, in order, on the calling thread; false ends the reply after the token it saw.
using OnToken = std::function<bool(std::int32_t id)>;

GenerationResult decode(const NextLogits& next_logits,
                        std::span<const std::int32_t> prompt,
                        const GenerateOptions& options,
                        const OnToken& on_token = {});

}  // namespace baichuan
