#include "infer/decode_loop.h"

#include <atomic>
#include <vector>

#include <gtest/gtest.h>

#include <torch/torch.h>

namespace baichuan {

namespace {

constexpr std::int64_t kVocabulary = 16;

// Logits whose largest is at the token after the last one seen: 3 4 5 ... modulo the vocabulary.
at::Tensor count_upwards(std::span<const std::int32_t> ids) {
  at::Tensor logits = at::zeros({kVocabulary});
  logits[(ids.back() + 1) % kVocabulary] = 5;
  return logits;
}

const std::vector<std::int32_t> kPrompt = {1, 2, 3};

TEST(DecodeLoop, StopsAtAStopIdAndLeavesItOut) {
  const auto result = decode(count_upwards, kPrompt, {.max_new_tokens = 100, .stop_ids = {9, 7}});
  EXPECT_EQ(result.ids, (std::vector<std::int32_t>{4, 5, 6}));
  EXPECT_EQ(result.stop_id, 7);
  EXPECT_EQ(result.finish, FinishReason::kStop);
  EXPECT_EQ(result.prompt_tokens, 3);
}

TEST(DecodeLoop, StopsAtTheLongestLength) {
  const auto result = decode(count_upwards, kPrompt, {.max_new_tokens = 2, .stop_ids = {7}});
  EXPECT_EQ(result.ids, (std::vector<std::int32_t>{4, 5}));
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_FALSE(result.stop_id);
  EXPECT_TRUE(decode(count_upwards, kPrompt, {.max_new_tokens = 0}).ids.empty());
}

TEST(DecodeLoop, GivesTheModelThePromptOnceAndThenEachNewToken) {
  std::vector<std::vector<std::int32_t>> calls;
  const auto record = [&](std::span<const std::int32_t> ids) {
    calls.emplace_back(ids.begin(), ids.end());
    return count_upwards(ids);
  };
  decode(record, kPrompt, {.max_new_tokens = 3});
  EXPECT_EQ(calls, (std::vector<std::vector<std::int32_t>>{{1, 2, 3}, {4}, {5}}));
}

TEST(DecodeLoop, ShowsEachTokenInOrderAndEndsWhenTheCallbackSaysSo) {
  std::vector<std::int32_t> seen;
  const auto result = decode(count_upwards, kPrompt, {.max_new_tokens = 100}, [&](std::int32_t id) {
    seen.push_back(id);
    return seen.size() < 3;
  });
  EXPECT_EQ(seen, (std::vector<std::int32_t>{4, 5, 6}));
  EXPECT_EQ(result.ids, seen);
  EXPECT_EQ(result.finish, FinishReason::kCallback);
}

TEST(DecodeLoop, StopsAtOnceWhenItIsInterrupted) {
  std::atomic<int> signal{0};
  const auto result =
      decode(count_upwards, kPrompt, {.max_new_tokens = 100, .interrupted = &signal}, [&](std::int32_t id) {
        if (id == 5) signal = 2;
        return true;
      });
  EXPECT_EQ(result.ids, (std::vector<std::int32_t>{4, 5}));
  EXPECT_EQ(result.finish, FinishReason::kInterrupted);
}

TEST(DecodeLoop, APrefillThatWasInterruptedGivesNoToken) {
  const auto result = decode([](std::span<const std::int32_t>) { return at::Tensor(); }, kPrompt, {});
  EXPECT_TRUE(result.ids.empty());
  EXPECT_EQ(result.finish, FinishReason::kInterrupted);
}

TEST(DecodeLoop, RepeatsAReplyUnderTheSameSeed) {
  const auto flat = [](std::span<const std::int32_t>) { return at::zeros({1000}); };
  const auto reply = [&](std::uint64_t seed, std::uint64_t stream) {
    return decode(flat, kPrompt,
                  {.sampling = {.do_sample = true, .top_k = 0}, .seed = seed, .stream = stream, .max_new_tokens = 20})
        .ids;
  };
  EXPECT_EQ(reply(7, 0), reply(7, 0));
  EXPECT_NE(reply(7, 0), reply(8, 0));
  EXPECT_NE(reply(7, 0), reply(7, 1));
}

TEST(DecodeLoop, PenalisesWhatPromptAndReplyHold) {
  const auto favourites = [](std::span<const std::int32_t>) { return torch::tensor({4.0f, 3.9f, 3.8f, 3.7f}); };
  const std::vector<std::int32_t> prompt = {1};
  const auto result = decode(favourites, prompt, {.sampling = {.repetition_penalty = 1.5}, .max_new_tokens = 3});
  EXPECT_EQ(result.ids, (std::vector<std::int32_t>{0, 2, 3}));
}

TEST(FinishReason, HasAWordForEach) {
  EXPECT_EQ(to_string(FinishReason::kStop), "stop");
  EXPECT_EQ(to_string(FinishReason::kLength), "length");
  EXPECT_EQ(to_string(FinishReason::kWindow), "window");
  EXPECT_EQ(to_string(FinishReason::kCallback), "callback");
  EXPECT_EQ(to_string(FinishReason::kInterrupted), "interrupted");
}

}  // namespace

}  // namespace baichuan
