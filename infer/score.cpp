#include "infer/score.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <torch/torch.h>

#include "core/error.h"
#include "core/log.h"
#include "model/baichuan_for_causal_lm.h"

namespace baichuan {

namespace {

// Elements of one chunk of logits: 64 MiB in float32.
constexpr std::int64_t kChunkElements = std::int64_t{1} << 24;

void require_scorable(const BaichuanConfig& config, std::span<const std::int32_t> ids) {
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= config.vocab_size)
      throw DataError("ids must be from 0 to {}; found {} at index {}; use the ids of the model's own tokenizer",
                      config.vocab_size - 1, ids[i], i);
  const auto tokens = static_cast<std::int64_t>(ids.size());
  if (tokens <= config.max_positions) return;
  if (config.position == PositionEmbedding::kRope)
    throw DataError("a text must fit the model's window of {} tokens; found {}; split it", config.max_positions,
                    tokens);
  log::warning("a text of {} tokens is longer than the {} that the model was trained on; ALiBi extrapolates", tokens,
               config.max_positions);
}

}  // namespace

at::Tensor target_log_probabilities(const at::Tensor& logits, const at::Tensor& targets) {
  const at::Tensor wide = logits.to(at::kFloat);
  return wide.gather(1, targets.unsqueeze(1)).squeeze(1) - wide.logsumexp(1);
}

std::vector<float> token_log_probabilities(BaichuanForCausalLM& model, std::span<const std::int32_t> ids) {
  const BaichuanConfig& config = model.config();
  require_scorable(config, ids);
  std::vector<float> logprobs(ids.size(), std::numeric_limits<float>::quiet_NaN());
  if (ids.size() < 2) return logprobs;

  const at::NoGradGuard no_grad;
  const at::Tensor row = at::empty({static_cast<std::int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), row.mutable_data_ptr<std::int64_t>());
  const at::Tensor all = row.to(model.device());
  // The last token predicts nothing that is asked for.
  const std::int64_t predictions = all.size(0) - 1;
  const at::Tensor hidden = model.hidden_states(all.narrow(0, 0, predictions).unsqueeze(0)).squeeze(0);  // [T-1, D]
  const std::int64_t rows = std::max<std::int64_t>(1, kChunkElements / config.vocab_size);
  for (std::int64_t begin = 0; begin < predictions; begin += rows) {
    const std::int64_t count = std::min(rows, predictions - begin);
    const at::Tensor chunk =
        target_log_probabilities(model.logits(hidden.narrow(0, begin, count)), all.narrow(0, begin + 1, count)).cpu();
    std::copy_n(chunk.const_data_ptr<float>(), count, logprobs.begin() + begin + 1);
  }
  return logprobs;
}

TextScore summarize(std::span<const float> logprobs) {
  if (logprobs.size() < 2) return {};
  double sum = 0;
  for (const float logprob : logprobs.subspan(1)) sum -= logprob;
  const double nll = sum / static_cast<double>(logprobs.size() - 1);
  return {nll, std::exp(nll)};
}

}  // namespace baichuan
