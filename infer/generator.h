// Continues a prompt with a model.
#pragma once

#include <cstdint>
#include <span>

#include "infer/decode_loop.h"

namespace baichuan {

class BaichuanForCausalLM;
struct BaichuanConfig;

// Continues `prompt` with a model on whatever device it is, over a key-value cache that is allocated once for prompt
// and reply: 2 * layers * hidden_size * tokens * element size bytes, freed on return. The logits of the prompt's last
// position alone are computed. A model with rotary positions ends at its last position (kWindow) and refuses a prompt
// that leaves no room; one with ALiBi goes on beyond it with a warning. Throws DataError for an empty prompt, ids
// outside the vocabulary and a prompt that does not fit.
GenerationResult generate(BaichuanForCausalLM& model,
                          std::span<const std::int32_t> prompt,
                          const GenerateOptions& options,
                          const OnToken& on_token = {});

// How many tokens may follow a prompt of `prompt_tokens`: max_new_tokens, or less where rotary positions end.
std::int64_t room_for_reply(const BaichuanConfig& config, std::int64_t prompt_tokens, std::int64_t max_new_tokens);

}  // namespace baichuan
