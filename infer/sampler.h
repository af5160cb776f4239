// The next token from the logits of one position: greedy, or the chain of Hugging Face transformers in its order:
// repetition penalty (over prompt and reply), temperature, top-k with its ties, top-p, softmax, one draw.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "core/philox.h"

namespace baichuan {

// The defaults are those of transformers' GenerationConfig.
struct SamplingOptions {
  bool do_sample = false;
  double temperature = 1.0;
  std::int64_t top_k = 50;  // 0 keeps all
  double top_p = 1.0;       // 1 keeps all
  double repetition_penalty = 1.0;
};

// The chain step by step with a full sort, in the type of `logits` [V] (transformers 4 computed it in the model's
// type, transformers 5 in float32): probabilities [V]. The reference that Sampler is tested against.
at::Tensor sampling_probabilities(const at::Tensor& logits,
                                  std::span<const std::int32_t> history,
                                  const SamplingOptions& options);

// The same chain in float32 without a full sort. A draw is a function of (seed, stream, length of the history), so
// a reply can be repeated, and does not depend on what else is generated at the time. Not for two threads at once.
class Sampler {
 public:
  struct Candidate {
    std::int32_t id;
    float probability;
  };

  explicit Sampler(const SamplingOptions& options, std::uint64_t seed = 0, std::uint64_t stream = 0);

  // `logits` [V] of any floating type on any device; `history` holds prompt and reply so far. Greedy returns the
  // first maximum. Throws Error when the logits hold NaN or no finite maximum.
  std::int64_t sample(const at::Tensor& logits, std::span<const std::int32_t> history);

  // What sample() draws from: every token with a probability above 0, by id. Valid until the next call.
  std::span<const Candidate> distribution(const at::Tensor& logits, std::span<const std::int32_t> history);

 private:
  float load_scores(const at::Tensor& logits, std::span<const std::int32_t> history);
  void keep_top_k();
  void keep_top_p();

  SamplingOptions options_;
  PhiloxKey key_;
  std::uint64_t stream_;
  std::vector<float> scores_;          // [V] after penalty and temperature
  std::vector<float> workspace_;       // for the k-th largest score
  std::vector<Candidate> candidates_;  // scores until the softmax, then probabilities
};

}  // namespace baichuan
