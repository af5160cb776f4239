#include "infer/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include <torch/torch.h>

#include "core/error.h"

namespace baichuan {

namespace {

constexpr double kNegativeInfinity = -std::numeric_limits<double>::infinity();

void require_logits(const at::Tensor& logits, std::span<const std::int32_t> history) {
  TORCH_CHECK_VALUE(logits.dim() == 1 && logits.size(0) > 0 && logits.is_floating_point(),
                    "sampler: logits must be [V] of a floating type, got ", logits.sizes(), " of ",
                    logits.scalar_type());
  for (const auto id : history)
    TORCH_CHECK_VALUE(id >= 0 && id < logits.size(0), "sampler: history holds id ", id, ", the vocabulary has ",
                      logits.size(0));
}

// Larger scores first; among equals the later id, as a stable ascending sort leaves it nearer to the top.
bool likelier(const Sampler::Candidate& a, const Sampler::Candidate& b) {
  return a.probability > b.probability || (a.probability == b.probability && a.id > b.id);
}

// NaN when one is among them. In lanes, so that the compiler vectorises; at::max would wake every thread for it.
float largest_of(const std::vector<float>& values) {
  constexpr std::size_t kLanes = 16;
  std::array<float, kLanes> largest;
  std::array<std::int32_t, kLanes> unordered = {};
  largest.fill(-std::numeric_limits<float>::infinity());
  const auto take = [&](std::size_t lane, float value) {
    largest[lane] = value > largest[lane] ? value : largest[lane];
    unordered[lane] |= value != value ? 1 : 0;
  };
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) take(lane, values[i + lane]);
  for (; i < values.size(); ++i) take(0, values[i]);
  const bool any_nan = std::any_of(unordered.begin(), unordered.end(), [](std::int32_t flag) { return flag != 0; });
  return any_nan ? std::numeric_limits<float>::quiet_NaN() : *std::max_element(largest.begin(), largest.end());
}

}  // namespace

at::Tensor sampling_probabilities(const at::Tensor& logits,
                                  std::span<const std::int32_t> history,
                                  const SamplingOptions& options) {
  require_logits(logits, history);
  at::Tensor scores = logits.clone();
  if (options.repetition_penalty != 1.0 && !history.empty()) {
    const at::Tensor seen = torch::tensor(at::ArrayRef<std::int32_t>(history.data(), history.size()), at::kInt)
                                .to(logits.device(), at::kLong);
    const at::Tensor value = scores.gather(0, seen);
    const double penalty = options.repetition_penalty;
    scores.scatter_(0, seen, at::where(value < 0, value * penalty, value / penalty));
  }
  if (options.temperature != 1.0) scores = scores / options.temperature;
  if (options.top_k > 0) {
    const auto kept = std::min(options.top_k, scores.size(0));
    const at::Tensor smallest_kept = std::get<0>(scores.topk(kept)).select(0, kept - 1);
    scores = scores.masked_fill(scores < smallest_kept, kNegativeInfinity);
  }
  if (options.top_p < 1.0) {
    const auto [sorted, order] = scores.sort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
    at::Tensor removed = at::softmax(sorted, 0).cumsum(0) <= 1 - options.top_p;
    removed.select(0, removed.size(0) - 1).fill_(false);
    scores = scores.masked_fill(at::zeros_like(removed).scatter(0, order, removed), kNegativeInfinity);
  }
  return at::softmax(scores, 0);
}

Sampler::Sampler(const SamplingOptions& options, std::uint64_t seed, std::uint64_t stream)
    : options_(options), key_(philox_key(seed, DrawPurpose::kSampling)), stream_(stream) {
  // Temperature 0 is the limit of ever smaller ones; below this a float32 logit divided by it may overflow.
  constexpr double kSmallestTemperature = 1e-6;
  if (options_.temperature < kSmallestTemperature) options_.do_sample = false;
}

// Fills scores_ and returns the largest.
float Sampler::load_scores(const at::Tensor& logits, std::span<const std::int32_t> history) {
  require_logits(logits, history);
  const at::Tensor source = logits.to(at::kCPU, at::kFloat).contiguous();
  const float* const raw = source.const_data_ptr<float>();
  scores_.assign(raw, raw + source.numel());
  if (options_.repetition_penalty != 1.0) {
    const auto penalty = static_cast<float>(options_.repetition_penalty);
    for (const auto id : history) {
      const float value = raw[id];  // the raw logit: a token seen twice is punished once
      scores_[static_cast<std::size_t>(id)] = value < 0 ? value * penalty : value / penalty;
    }
  }
  const float largest = largest_of(scores_);
  if (!std::isfinite(largest))
    throw Error(
        "the next token needs finite logits; found {} after {} tokens; use --dtype bf16 or fp32, or check the "
        "weights",
        std::isnan(largest) ? std::string("NaN") : fmt::format("{}", largest), history.size());
  return largest;
}

std::int64_t Sampler::sample(const at::Tensor& logits, std::span<const std::int32_t> history) {
  if (!options_.do_sample) {
    const float largest = load_scores(logits, history);
    return std::find(scores_.begin(), scores_.end(), largest) - scores_.begin();
  }
  const auto kept = distribution(logits, history);
  const std::uint64_t position = history.size();
  const auto draw = philox4x32({static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32),
                                static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
                               key_);
  const std::uint64_t bits = (std::uint64_t{draw[0]} << 32) | draw[1];
  double total = 0;
  for (const auto& candidate : kept) total += candidate.probability;
  const double target = static_cast<double>(bits >> 11) * 0x1p-53 * total;
  double reached = 0;
  for (const auto& candidate : kept) {
    reached += candidate.probability;
    if (reached > target) return candidate.id;
  }
  return kept.back().id;
}

std::span<const Sampler::Candidate> Sampler::distribution(const at::Tensor& logits,
                                                          std::span<const std::int32_t> history) {
  float largest = load_scores(logits, history);
  if (options_.temperature != 1.0) {
    const auto temperature = static_cast<float>(options_.temperature);
    for (float& score : scores_) score /= temperature;
    largest /= temperature;
  }
  keep_top_k();
  const auto to_weights = [largest](Candidate& candidate) {
    candidate.probability = std::exp(candidate.probability - largest);
  };
  std::for_each(candidates_.begin(), candidates_.end(), to_weights);
  std::erase_if(candidates_, [](const Candidate& candidate) { return candidate.probability == 0; });
  if (options_.top_p < 1.0) keep_top_p();

  double total = 0;
  for (const auto& candidate : candidates_) total += candidate.probability;
  for (auto& candidate : candidates_) candidate.probability = static_cast<float>(candidate.probability / total);
  return candidates_;
}

// Fills candidates_ by id with the scores that are at least the k-th largest.
void Sampler::keep_top_k() {
  candidates_.clear();
  const std::size_t vocabulary = scores_.size();
  float smallest_kept = -std::numeric_limits<float>::infinity();
  if (options_.top_k > 0 && static_cast<std::size_t>(options_.top_k) < vocabulary) {
    const auto k = static_cast<std::size_t>(options_.top_k);
    // A heap of k passes over the scores once; for a large k selecting in place is cheaper.
    constexpr std::size_t kLargestHeap = 256;
    if (k <= kLargestHeap) {
      workspace_.resize(k);
      std::partial_sort_copy(scores_.begin(), scores_.end(), workspace_.begin(), workspace_.end(), std::greater<>());
    } else {
      workspace_ = scores_;
      std::nth_element(workspace_.begin(), workspace_.begin() + static_cast<std::ptrdiff_t>(k - 1), workspace_.end(),
                       std::greater<>());
    }
    smallest_kept = workspace_[k - 1];
  }
  for (std::size_t id = 0; id < vocabulary; ++id)
    if (scores_[id] >= smallest_kept) candidates_.push_back({static_cast<std::int32_t>(id), scores_[id]});
}

// Keeps the smallest set of likeliest candidates whose weights reach top_p of all: selection by halves, linear time.
void Sampler::keep_top_p() {
  double total = 0;
  for (const auto& candidate : candidates_) total += candidate.probability;
  const double target = options_.top_p * total;
  // A weight so small that all of them at that weight stay below what may be dropped is outside: with it go most of a
  // vocabulary.
  const double negligible = (total - target) / static_cast<double>(candidates_.size());
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.probability < negligible; });
  auto low = candidates_.begin();  // everything before is kept
  auto high = candidates_.end();   // everything from here on is dropped
  double kept = 0;
  while (high - low > 1) {
    const auto middle = low + (high - low) / 2;
    std::nth_element(low, middle, high, likelier);
    double upper = 0;
    for (auto it = low; it != middle; ++it) upper += it->probability;
    if (kept + upper >= target) {
      high = middle;
    } else {
      kept += upper;
      low = middle;
    }
  }
  candidates_.erase(low + 1, candidates_.end());
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
}

}  // namespace baichuan
