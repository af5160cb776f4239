#include "infer/score.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/log.h"
#include "tests/infer/tiny_model.h"

namespace baichuan {

namespace {

std::vector<std::int32_t> text_of(std::int64_t length) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < length; ++i) ids.push_back(static_cast<std::int32_t>((i * i + 3 * i + 11) % 97));
  return ids;
}

// log softmax over all positions at once, in float64.
std::vector<double> reference(BaichuanForCausalLM& model, const std::vector<std::int32_t>& ids) {
  const at::NoGradGuard no_grad;
  const at::Tensor row = torch::tensor(at::ArrayRef<std::int32_t>(ids.data(), ids.size()), at::kInt).to(at::kLong);
  const at::Tensor all = model.logits(model.hidden_states(row.unsqueeze(0)))[0].to(at::kDouble).log_softmax(1);
  std::vector<double> logprobs;
  for (std::size_t i = 1; i < ids.size(); ++i)
    logprobs.push_back(all[static_cast<std::int64_t>(i) - 1][ids[i]].item<double>());
  return logprobs;
}

TEST(TokenLogProbabilities, EqualALogSoftmaxOverTheWholeVocabulary) {
  for (const auto position : {PositionEmbedding::kAlibi, PositionEmbedding::kRope}) {
    const auto model = tiny_model(position);
    for (const std::int64_t length : {2, 3, 63, 64}) {
      const auto ids = text_of(length);
      const auto got = token_log_probabilities(*model, ids);
      const auto want = reference(*model, ids);
      ASSERT_EQ(got.size(), ids.size());
      EXPECT_TRUE(std::isnan(got[0]));
      for (std::size_t i = 1; i < got.size(); ++i)
        EXPECT_NEAR(got[i], want[i - 1], 1e-5 * std::abs(want[i - 1]) + 1e-6);
    }
  }
}

TEST(TokenLogProbabilities, OfNothingAndOfOneTokenNeedNoModel) {
  const auto model = tiny_model(PositionEmbedding::kAlibi);
  EXPECT_TRUE(token_log_probabilities(*model, {}).empty());
  const std::vector<std::int32_t> one = {3};
  const auto logprobs = token_log_probabilities(*model, one);
  ASSERT_EQ(logprobs.size(), 1u);
  EXPECT_TRUE(std::isnan(logprobs[0]));
}

// 120,000 ids make a chunk of 139 rows, so that 400 rows take three.
TEST(TokenLogProbabilities, DoNotDependOnTheSizeOfAChunk) {
  BaichuanConfig config = tiny_config(PositionEmbedding::kAlibi);
  config.vocab_size = 120000;
  config.max_positions = 512;
  BaichuanForCausalLM model(config, at::TensorOptions().dtype(at::kFloat));
  init_weights(model, 5, 0.3);
  const auto ids = text_of(401);
  const auto got = token_log_probabilities(model, ids);
  const auto want = reference(model, ids);
  for (std::size_t i = 1; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i - 1], 1e-5 * std::abs(want[i - 1]));
}

TEST(TokenLogProbabilities, NameIdsAndLengthsThatDoNotFit) {
  const auto message_for = [](PositionEmbedding position, const std::vector<std::int32_t>& ids) -> std::string {
    try {
      token_log_probabilities(*tiny_model(position), ids);
    } catch (const DataError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message_for(PositionEmbedding::kAlibi, {1, 2, 97}),
            "ids must be from 0 to 96; found 97 at index 2; use the ids of the model's own tokenizer");
  EXPECT_EQ(message_for(PositionEmbedding::kRope, text_of(65)),
            "a text must fit the model's window of 64 tokens; found 65; split it");
  log::set_level(log::Level::kError);
  EXPECT_EQ(message_for(PositionEmbedding::kAlibi, text_of(65)), "accepted");
  log::set_level(log::Level::kInfo);
}

TEST(TargetLogProbabilities, AreComputedInFloat32ForAnyType) {
  const at::Tensor logits = torch::tensor({{1.0f, 2.0f, 300.0f}, {0.0f, 0.0f, 0.0f}});
  const at::Tensor targets = torch::tensor({0, 2}, at::kLong);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor got = target_log_probabilities(logits.to(dtype), targets);
    EXPECT_EQ(got.scalar_type(), at::kFloat);
    EXPECT_NEAR(got[0].item<float>(), -299, 1);
    EXPECT_NEAR(got[1].item<float>(), -std::log(3.0f), 1e-6);
  }
}

}  // namespace

}  // namespace baichuan
