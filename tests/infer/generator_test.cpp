#include "infer/generator.h"

#include <vector>

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/log.h"
#include "tests/infer/tiny_model.h"

namespace baichuan {

namespace {

using Ids = std::vector<std::int32_t>;

Ids prompt_of(std::int64_t length) {
  Ids prompt;
  for (std::int64_t i = 0; i < length; ++i) prompt.push_back(static_cast<std::int32_t>((i * 31 + 7) % 97));
  return prompt;
}

// Every step over the whole text: no cache.
Ids generate_uncached(BaichuanForCausalLM& model, const Ids& prompt, const GenerateOptions& options) {
  const at::NoGradGuard no_grad;
  Ids text;
  const auto logits = [&](std::span<const std::int32_t> ids) {
    text.insert(text.end(), ids.begin(), ids.end());
    const at::Tensor batch =
        torch::tensor(at::ArrayRef<std::int32_t>(text.data(), text.size()), at::kInt).to(at::kLong).unsqueeze(0);
    return model.logits(model.hidden_states(batch))[0][-1];
  };
  return decode(logits, prompt, options).ids;
}

class Generator : public testing::TestWithParam<PositionEmbedding> {};

TEST_P(Generator, GreedyWithACacheEqualsGreedyWithout) {
  const auto model = tiny_model(GetParam());
  for (const std::int64_t length : {1, 2, 17, 40}) {
    const GenerateOptions options = {.max_new_tokens = 24};
    const auto result = generate(*model, prompt_of(length), options);
    EXPECT_EQ(result.ids, generate_uncached(*model, prompt_of(length), options)) << "prompt of " << length;
    EXPECT_EQ(result.ids.size(), 24u);
    EXPECT_EQ(result.finish, FinishReason::kLength);
    EXPECT_EQ(result.prompt_tokens, length);
  }
}

TEST_P(Generator, SamplingWithACacheEqualsSamplingWithout) {
  const auto model = tiny_model(GetParam());
  const GenerateOptions options = {
      .sampling = {.do_sample = true, .temperature = 0.8, .top_k = 20, .top_p = 0.9, .repetition_penalty = 1.1},
      .seed = 9,
      .max_new_tokens = 24};
  EXPECT_EQ(generate(*model, prompt_of(5), options).ids, generate_uncached(*model, prompt_of(5), options));
}

TEST_P(Generator, RepeatsAReplyUnderTheSameSeed) {
  const auto model = tiny_model(GetParam());
  GenerateOptions options = {.sampling = {.do_sample = true}, .seed = 1, .max_new_tokens = 16};
  const Ids first = generate(*model, prompt_of(4), options).ids;
  EXPECT_EQ(generate(*model, prompt_of(4), options).ids, first);
  options.seed = 2;
  EXPECT_NE(generate(*model, prompt_of(4), options).ids, first);
}

TEST_P(Generator, EndsAtAStopIdThatItDoesNotShow) {
  const auto model = tiny_model(GetParam());
  const Ids whole = generate(*model, prompt_of(6), {.max_new_tokens = 20}).ids;
  const std::int32_t stop = whole[7];
  const auto first = std::find(whole.begin(), whole.end(), stop);
  Ids seen;
  const auto result = generate(*model, prompt_of(6), {.max_new_tokens = 20, .stop_ids = {stop}}, [&](std::int32_t id) {
    seen.push_back(id);
    return true;
  });
  EXPECT_EQ(result.ids, Ids(whole.begin(), first));
  EXPECT_EQ(seen, result.ids);
  EXPECT_EQ(result.finish, FinishReason::kStop);
}

TEST_P(Generator, WorksInBfloat16) {
  const auto model = tiny_model(GetParam(), at::kBFloat16);
  EXPECT_EQ(generate(*model, prompt_of(6), {.max_new_tokens = 8}).ids.size(), 8u);
}

TEST_P(Generator, LeavesTheModelReadyForTraining) {
  const auto model = tiny_model(GetParam());
  generate(*model, prompt_of(6), {.max_new_tokens = 8});
  for (auto& parameter : model->parameters()) parameter.requires_grad_(true);
  const at::Tensor ids = at::arange(12, at::kLong).unsqueeze(0);
  model->logits(model->hidden_states(ids)).sum().backward();
  EXPECT_TRUE(model->parameters().front().grad().defined());
}

TEST_P(Generator, StopsInAPromptWhenItIsInterrupted) {
  const auto model = tiny_model(GetParam());
  const std::atomic<int> signal{2};
  const auto result = generate(*model, prompt_of(6), {.max_new_tokens = 8, .interrupted = &signal});
  EXPECT_TRUE(result.ids.empty());
  EXPECT_EQ(result.finish, FinishReason::kInterrupted);
}

INSTANTIATE_TEST_SUITE_P(Positions,
                         Generator,
                         testing::Values(PositionEmbedding::kAlibi, PositionEmbedding::kRope),
                         [](const auto& instance) {
                           return instance.param == PositionEmbedding::kAlibi ? "Alibi" : "Rope";
                         });

TEST(GeneratorWindow, RotaryPositionsEndTheReplyAtTheLastPosition) {
  const auto model = tiny_model(PositionEmbedding::kRope);
  const auto result = generate(*model, prompt_of(60), {.max_new_tokens = 30});
  EXPECT_EQ(result.ids.size(), 4u);
  EXPECT_EQ(result.finish, FinishReason::kWindow);
}

TEST(GeneratorWindow, RotaryPositionsRefuseAPromptThatLeavesNoRoom) {
  const auto model = tiny_model(PositionEmbedding::kRope);
  try {
    generate(*model, prompt_of(64), {.max_new_tokens = 5});
    FAIL() << "a prompt of the whole window was accepted";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(),
                 "the prompt must leave room in the model's window of 64 tokens; found a prompt of 64; shorten it");
  }
}

TEST(GeneratorWindow, AlibiGoesBeyondItAndStillEqualsTheUncachedReply) {
  log::set_level(log::Level::kError);
  const auto model = tiny_model(PositionEmbedding::kAlibi);
  for (const std::int64_t length : {60, 70}) {
    const GenerateOptions options = {.max_new_tokens = 12};
    EXPECT_EQ(generate(*model, prompt_of(length), options).ids, generate_uncached(*model, prompt_of(length), options));
  }
  log::set_level(log::Level::kInfo);
}

TEST(GeneratorWindow, APromptOfSeveralChunksEqualsOnePass) {
  BaichuanConfig config = tiny_config(PositionEmbedding::kAlibi);
  config.max_positions = 2048;
  BaichuanForCausalLM model(config, at::TensorOptions().dtype(at::kFloat));
  init_weights(model, 5, 0.3);
  const GenerateOptions options = {.max_new_tokens = 4};
  EXPECT_EQ(generate(model, prompt_of(1100), options).ids, generate_uncached(model, prompt_of(1100), options));
}

TEST(GeneratorPrompt, MustHoldIdsOfTheVocabulary) {
  const auto model = tiny_model(PositionEmbedding::kAlibi);
  const auto message_for = [&](const Ids& prompt) -> std::string {
    try {
      generate(*model, prompt, {.max_new_tokens = 5});
    } catch (const DataError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message_for({}), "a prompt needs at least one token; found none; give some text");
  EXPECT_EQ(message_for({1, 97}),
            "prompt ids must be from 0 to 96; found 97; use the tokenizer that belongs to the model");
  EXPECT_EQ(message_for({-1}),
            "prompt ids must be from 0 to 96; found -1; use the tokenizer that belongs to the model");
}

}  // namespace

}  // namespace baichuan
