// How likely a model finds a given text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace baichuan {

class BaichuanForCausalLM;

// logprobs[i] is the natural logarithm of the probability of ids[i] given ids[0 .. i-1]; logprobs[0] is NaN, since
// nothing is known about a first token. Computed in float32 from the logits, a bounded number of rows at a time: no
// [T, vocabulary] tensor for a long text. Throws DataError for ids outside the vocabulary and for texts longer than
// rotary positions reach.
std::vector<float> token_log_probabilities(BaichuanForCausalLM& model, std::span<const std::int32_t> ids);

// log softmax(logits)[target] of each row: logits [N, V] of any floating type, targets int64 [N] -> float32 [N].
at::Tensor target_log_probabilities(const at::Tensor& logits, const at::Tensor& targets);

struct TextScore {
  double nll = 0;         // mean negative log-likelihood of the tokens after the first; 0 where there are none
  double perplexity = 1;  // exp(nll)
};

TextScore summarize(std::span<const float> logprobs);

}  // namespace baichuan
