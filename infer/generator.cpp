#include "infer/generator.h"

#include <algorithm>

#include <torch/torch.h>

#include "core/error.h"
#include "core/log.h"
#include "model/baichuan_for_causal_lm.h"
#include "model/kv_cache.h"

namespace baichuan {

namespace {

// Positions of the prompt in one forward pass: bounds the memory of activations, and an interrupt is seen between.
constexpr std::int64_t kPrefillChunk = 512;

bool is_set(const std::atomic<int>* flag) {
  return flag != nullptr && flag->load(std::memory_order_relaxed) != 0;
}

// A model with its cache as a source of logits.
class CachedModel {
 public:
  CachedModel(BaichuanForCausalLM& model, std::int64_t capacity, const std::atomic<int>* interrupted)
      : model_(model),
        cache_(model.config(), /*batch=*/1, capacity, at::device(model.device()).dtype(model.compute_dtype())),
        interrupted_(interrupted) {}

  at::Tensor next_logits(std::span<const std::int32_t> ids) {
    at::Tensor hidden;
    for (std::size_t begin = 0; begin < ids.size(); begin += kPrefillChunk) {
      if (is_set(interrupted_)) return {};
      const auto chunk = ids.subspan(begin, std::min<std::size_t>(kPrefillChunk, ids.size() - begin));
      hidden = model_.hidden_states(to_batch(chunk), &cache_);
    }
    return model_.logits(hidden.select(1, hidden.size(1) - 1)).squeeze(0);
  }

 private:
  // [1, T] on the model's device.
  at::Tensor to_batch(std::span<const std::int32_t> ids) const {
    const at::Tensor batch = at::empty({1, static_cast<std::int64_t>(ids.size())}, at::kLong);
    std::copy(ids.begin(), ids.end(), batch.mutable_data_ptr<std::int64_t>());
    return batch.to(model_.device());
  }

  BaichuanForCausalLM& model_;
  KvCache cache_;
  const std::atomic<int>* interrupted_;
};

void require_ids(std::span<const std::int32_t> prompt, std::int64_t vocabulary) {
  if (prompt.empty()) throw DataError("a prompt needs at least one token; found none; give some text");
  for (const auto id : prompt)
    if (id < 0 || id >= vocabulary)
      throw DataError("prompt ids must be from 0 to {}; found {}; use the tokenizer that belongs to the model",
                      vocabulary - 1, id);
}

}  // namespace

std::int64_t room_for_reply(const BaichuanConfig& config, std::int64_t prompt_tokens, std::int64_t max_new_tokens) {
  const std::int64_t room = config.max_positions - prompt_tokens;
  if (config.position == PositionEmbedding::kRope) {
    if (room <= 0)
      throw DataError("the prompt must leave room in the model's window of {} tokens; found a prompt of {}; shorten it",
                      config.max_positions, prompt_tokens);
    return std::min(max_new_tokens, room);
  }
  return max_new_tokens;
}

GenerationResult generate(BaichuanForCausalLM& model,
                          std::span<const std::int32_t> prompt,
                          const GenerateOptions& options,
                          const OnToken& on_token) {
  const BaichuanConfig& config = model.config();
  require_ids(prompt, config.vocab_size);
  const auto prompt_tokens = static_cast<std::int64_t>(prompt.size());
  GenerateOptions allowed = options;
  allowed.max_new_tokens = room_for_reply(config, prompt_tokens, options.max_new_tokens);
  if (prompt_tokens > config.max_positions)
    log::warning("the prompt of {} tokens is longer than the {} that the model was trained on; ALiBi extrapolates",
                 prompt_tokens, config.max_positions);

  const at::NoGradGuard no_grad;  // not inference mode: the model keeps tables that training may use next
  CachedModel cached(model, prompt_tokens + allowed.max_new_tokens, options.interrupted);
  bool warned = prompt_tokens > config.max_positions;
  std::int64_t position = prompt_tokens;
  const auto watch_window = [&](std::int32_t id) {
    if (++position > config.max_positions && !warned) {
      log::warning("the reply goes beyond the {} tokens that the model was trained on", config.max_positions);
      warned = true;
    }
    return !on_token || on_token(id);
  };
  GenerationResult result =
      decode([&](std::span<const std::int32_t> ids) { return cached.next_logits(ids); }, prompt, allowed, watch_window);
  const bool cut = allowed.max_new_tokens < options.max_new_tokens;
  if (result.finish == FinishReason::kLength && cut) result.finish = FinishReason::kWindow;
  return result;
}

}  // namespace baichuan
