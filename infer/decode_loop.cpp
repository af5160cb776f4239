#include "infer/decode_loop.h"

#include <algorithm>
#include <chrono>

namespace baichuan {

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool is_set(const std::atomic<int>* flag) {
  return flag != nullptr && flag->load(std::memory_order_relaxed) != 0;
}

}  // namespace

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kWindow:
      return "window";
    case FinishReason::kCallback:
      return "callback";
    case FinishReason::kInterrupted:
      return "interrupted";
  }
  return "";
}

GenerationResult decode(const NextLogits& next_logits,
                        std::span<const std::int32_t> prompt,
                        const GenerateOptions& options,
                        const OnToken& on_token) {
  GenerationResult result;
  result.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  if (options.max_new_tokens <= 0) return result;
  Sampler sampler(options.sampling, options.seed, options.stream);
  std::vector<std::int32_t> history(prompt.begin(), prompt.end());

  auto start = std::chrono::steady_clock::now();
  at::Tensor logits = next_logits(prompt);
  const auto draw_next = [&]() -> std::optional<FinishReason> {
    if (!logits.defined() || is_set(options.interrupted)) return FinishReason::kInterrupted;
    const auto id = static_cast<std::int32_t>(sampler.sample(logits, history));
    if (std::find(options.stop_ids.begin(), options.stop_ids.end(), id) != options.stop_ids.end()) {
      result.stop_id = id;
      return FinishReason::kStop;
    }
    history.push_back(id);
    result.ids.push_back(id);
    if (on_token && !on_token(id)) return FinishReason::kCallback;
    if (static_cast<std::int64_t>(result.ids.size()) >= options.max_new_tokens) return FinishReason::kLength;
    return {};
  };

  auto finish = draw_next();
  result.prefill_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  while (!finish) {
    logits = next_logits(std::span(history).last(1));
    finish = draw_next();
  }
  result.decode_seconds = seconds_since(start);
  result.finish = *finish;
  return result;
}

}  // namespace baichuan
