#include "infer/sampler.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/json.h"

namespace baichuan {

namespace {

constexpr double kProbabilityTolerance = 1e-6;  // float32 softmax of 40 logits
// One rounding to the type after each of up to five steps; the largest probability is below 1.
constexpr double kHalfRounding = 5.0 / 2048;
constexpr double kBf16Rounding = 5.0 / 256;

struct GoldenCase {
  SamplingOptions options;
  at::Tensor logits;
  std::vector<std::int32_t> history;
  Json json;
};

std::vector<GoldenCase> golden_cases() {
  const std::filesystem::path path = BAICHUAN_SHARED_DATA "/golden/sampling.json";
  std::vector<GoldenCase> cases;
  if (!std::filesystem::exists(path)) return cases;
  const Json file = read_json_file(path);
  for (const Json& one : file["cases"]) {
    std::vector<float> row;
    for (const Json& value : file["logits"][one["row"].get<std::size_t>()])
      row.push_back(value.is_null() ? -std::numeric_limits<float>::infinity() : value.get<float>());
    const Json& params = one["params"];
    cases.push_back({{.do_sample = true,
                      .temperature = params["temperature"],
                      .top_k = params["top_k"],
                      .top_p = params["top_p"],
                      .repetition_penalty = params["repetition_penalty"]},
                     torch::tensor(row),
                     one["history"].get<std::vector<std::int32_t>>(),
                     one});
  }
  return cases;
}

std::map<std::int32_t, double> expected(const Json& probabilities) {
  std::map<std::int32_t, double> result;
  for (const auto& [id, value] : probabilities.items()) result[std::stoi(id)] = value;
  return result;
}

void expect_distribution(const std::map<std::int32_t, double>& want,
                         const std::map<std::int32_t, double>& got,
                         double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [id, probability] : want) {
    ASSERT_TRUE(got.contains(id)) << "id " << id << " is missing";
    EXPECT_NEAR(got.at(id), probability, tolerance) << "id " << id;
  }
}

std::map<std::int32_t, double> of_tensor(const at::Tensor& probabilities) {
  std::map<std::int32_t, double> result;
  for (std::int64_t id = 0; id < probabilities.size(0); ++id)
    if (const double value = probabilities[id].item<double>(); value > 0) result[static_cast<std::int32_t>(id)] = value;
  return result;
}

std::map<std::int32_t, double> of_candidates(std::span<const Sampler::Candidate> candidates) {
  std::map<std::int32_t, double> result;
  for (const auto& candidate : candidates) result[candidate.id] = candidate.probability;
  return result;
}

TEST(SamplingChain, EqualsTheRecordedChainsOfTransformers) {
  const auto cases = golden_cases();
  if (cases.empty()) GTEST_SKIP() << "needs ../shared/data/golden/sampling.json";
  for (const auto& one : cases) {
    SCOPED_TRACE(one.json["params"].dump());
    const auto want = expected(one.json["probs"]);
    ASSERT_EQ(want.size(), one.json["kept"].get<std::size_t>());
    expect_distribution(want, of_tensor(sampling_probabilities(one.logits, one.history, one.options)),
                        kProbabilityTolerance);
    Sampler sampler(one.options);
    expect_distribution(want, of_candidates(sampler.distribution(one.logits, one.history)), kProbabilityTolerance);
  }
}

TEST(SamplingChain, InHalfPrecisionEqualsTheRecordedChainsOfTransformers4) {
  const auto cases = golden_cases();
  if (cases.empty()) GTEST_SKIP() << "needs ../shared/data/golden/sampling.json";
  for (const auto& one : cases) {
    SCOPED_TRACE(one.json["params"].dump());
    const Json& half = one.json["half_dtype_probs"];
    expect_distribution(expected(half["fp16"]),
                        of_tensor(sampling_probabilities(one.logits.to(at::kHalf), one.history, one.options)),
                        kHalfRounding);
    expect_distribution(expected(half["bf16"]),
                        of_tensor(sampling_probabilities(one.logits.to(at::kBFloat16), one.history, one.options)),
                        kBf16Rounding);
  }
}

TEST(Sampler, EqualsTheReferenceOnALargeVocabulary) {
  torch::manual_seed(3);
  for (const double spread : {0.5, 4.0}) {
    const at::Tensor logits = torch::randn({64000}) * spread;
    for (const std::int64_t top_k : {0, 1, 5, 50, 4000, 70000}) {
      for (const double top_p : {1.0, 0.85, 0.3, 0.0}) {
        const SamplingOptions options = {
            .do_sample = true, .temperature = 0.7, .top_k = top_k, .top_p = top_p, .repetition_penalty = 1.1};
        const std::vector<std::int32_t> history = {5, 63999, 5, 17};
        Sampler sampler(options);
        const auto got = of_candidates(sampler.distribution(logits, history));
        const at::Tensor want = sampling_probabilities(logits, history, options);
        const auto want_count = (want > 0).sum().item<std::int64_t>();
        // float32 sums of 64,000 terms may move the edge of the nucleus by one token among near-equals.
        EXPECT_NEAR(static_cast<double>(got.size()), static_cast<double>(want_count), top_p < 1 && top_p > 0 ? 1 : 0)
            << "top_k " << top_k << ", top_p " << top_p;
        for (const auto& [id, probability] : got) {
          if (probability > 1e-3) {
            EXPECT_NEAR(probability, want[id].item<double>(), 1e-5);
          }
        }
      }
    }
  }
}

TEST(Sampler, DrawsInProportionToTheProbabilities) {
  const at::Tensor logits = torch::tensor({std::log(0.5f), std::log(0.3f), std::log(0.2f)});
  Sampler sampler({.do_sample = true, .top_k = 0}, /*seed=*/11);
  std::vector<int> counts(3);
  constexpr int kDraws = 20000;
  std::vector<std::int32_t> history;
  for (int i = 0; i < kDraws; ++i) {
    history.push_back(0);
    ++counts[static_cast<std::size_t>(sampler.sample(logits, history))];
  }
  // Five standard deviations of a binomial count.
  EXPECT_NEAR(counts[0], 0.5 * kDraws, 5 * std::sqrt(0.25 * kDraws));
  EXPECT_NEAR(counts[1], 0.3 * kDraws, 5 * std::sqrt(0.21 * kDraws));
  EXPECT_NEAR(counts[2], 0.2 * kDraws, 5 * std::sqrt(0.16 * kDraws));
}

TEST(Sampler, DrawIsAFunctionOfSeedStreamAndPosition) {
  const at::Tensor logits = at::zeros({1000});
  const SamplingOptions options = {.do_sample = true, .top_k = 0};
  const auto draws = [&](std::uint64_t seed, std::uint64_t stream) {
    Sampler sampler(options, seed, stream);
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> history = {1, 2};
    for (int i = 0; i < 8; ++i) {
      ids.push_back(sampler.sample(logits, history));
      history.push_back(static_cast<std::int32_t>(ids.back()));
    }
    return ids;
  };
  EXPECT_EQ(draws(1, 0), draws(1, 0));
  EXPECT_NE(draws(1, 0), draws(2, 0));
  EXPECT_NE(draws(1, 0), draws(1, 1));
}

TEST(Sampler, GreedyTakesTheFirstMaximumAfterTheRepetitionPenalty) {
  const at::Tensor logits = torch::tensor({1.0f, 3.0f, 2.0f, 3.0f});
  EXPECT_EQ(Sampler(SamplingOptions{}).sample(logits, {}), 1);
  const std::vector<std::int32_t> history = {1, 3, 3};
  EXPECT_EQ(Sampler({.repetition_penalty = 2.0}).sample(logits, history), 2);
  EXPECT_EQ(Sampler(SamplingOptions{}).sample(logits.to(at::kBFloat16), history), 1);
}

TEST(Sampler, TemperatureZeroIsGreedy) {
  const at::Tensor logits = torch::tensor({1.0f, 1.5f, 1.4f});
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    EXPECT_EQ(Sampler({.do_sample = true, .temperature = 0}, seed).sample(logits, {}), 1);
}

TEST(Sampler, NeverDrawsWhatAMaskForbids) {
  constexpr float kMasked = -std::numeric_limits<float>::infinity();
  const at::Tensor logits = torch::tensor({kMasked, 0.5f, kMasked, 0.1f});
  Sampler sampler({.do_sample = true, .top_k = 3, .repetition_penalty = 1.3});
  const std::vector<std::int32_t> history = {0, 1};
  ASSERT_EQ(sampler.distribution(logits, history).size(), 2u);
}

TEST(Sampler, NamesLogitsThatAreNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::int32_t> history = {0, 1};
  for (const bool do_sample : {false, true}) {
    try {
      Sampler({.do_sample = do_sample}).sample(torch::tensor({1.0f, nan}), history);
      FAIL() << "NaN was accepted";
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(),
                   "the next token needs finite logits; found NaN after 2 tokens; use --dtype bf16 or fp32, or check "
                   "the weights");
    }
  }
  EXPECT_THROW(Sampler(SamplingOptions{}).sample(at::full({3}, -std::numeric_limits<float>::infinity()), {}), Error);
}

TEST(Sampler, RefusesIdsOutsideTheVocabulary) {
  const std::vector<std::int32_t> history = {3};
  EXPECT_THROW(Sampler(SamplingOptions{}).sample(at::zeros({3}), history), c10::ValueError);
  EXPECT_THROW(Sampler(SamplingOptions{}).sample(at::zeros({1, 3}), {}), c10::ValueError);
}

}  // namespace

}  // namespace baichuan
