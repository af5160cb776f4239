#include "infer/score_rows.h"

#include <cmath>
#include <limits>
#include <sstream>

#include <gtest/gtest.h>

#include "core/error.h"
#include "infer/score.h"

namespace baichuan {

namespace {

// Every text is its bytes; every id after the first has probability 1 / 4.
ScoreFunctions fake_functions() {
  ScoreFunctions functions;
  functions.encode = [](std::string_view text) { return std::vector<std::int32_t>(text.begin(), text.end()); };
  functions.log_probabilities = [](std::span<const std::int32_t> ids) {
    std::vector<float> logprobs(ids.size(), std::log(0.25f));
    if (!logprobs.empty()) logprobs[0] = std::numeric_limits<float>::quiet_NaN();
    for (const auto id : ids)
      if (id >= 1000) throw DataError("ids must be from 0 to 999; found {} at index 0", id);
    return logprobs;
  };
  return functions;
}

std::vector<Json> scored(const std::string& input, ScoreTotals* totals = nullptr) {
  std::istringstream stream(input);
  std::vector<Json> rows;
  const ScoreTotals sums = score_rows(stream, "in.jsonl", fake_functions(), [&](std::string_view line) {
    EXPECT_TRUE(line.ends_with('\n'));
    rows.push_back(Json::parse(line));
  });
  if (totals != nullptr) *totals = sums;
  return rows;
}

std::string message_for(const std::string& input) {
  try {
    scored(input);
  } catch (const DataError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ScoreRows, GivesARowForEachTextOrListOfIds) {
  ScoreTotals totals;
  const auto rows = scored("{\"text\": \"ab\", \"name\": 1}\n\n{\"ids\": [5, 6, 7]}\r\n{\"ids\": [9]}", &totals);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["ids"], Json({97, 98}));
  EXPECT_TRUE(rows[0]["logprobs"][0].is_null());
  EXPECT_FLOAT_EQ(rows[0]["logprobs"][1].get<float>(), std::log(0.25f));
  EXPECT_NEAR(rows[1]["nll"].get<double>(), std::log(4), 1e-6);
  EXPECT_NEAR(rows[1]["perplexity"].get<double>(), 4, 1e-5);
  EXPECT_EQ(rows[2]["logprobs"], Json::array({nullptr}));
  EXPECT_EQ(rows[2]["nll"], 0.0);
  EXPECT_EQ(totals.rows, 3);
  EXPECT_EQ(totals.tokens, 6);
  EXPECT_EQ(totals.predictions, 3);
  EXPECT_NEAR(totals.nll_sum, 3 * std::log(4), 1e-6);
}

TEST(ScoreRows, AnEmptyTextIsAnEmptyRow) {
  const auto rows = scored("{\"text\": \"\"}");
  EXPECT_EQ(rows[0]["ids"], Json::array());
  EXPECT_EQ(rows[0]["logprobs"], Json::array());
}

TEST(ScoreRows, NameTheLineAndTheField) {
  EXPECT_EQ(message_for("{\"ids\": [1]}\n{\"text\": 5}"),
            "in.jsonl line 2: 'text' must be a string; found 5; correct the row");
  EXPECT_EQ(message_for("{\"ids\": \"1 2\"}"),
            "in.jsonl line 1: 'ids' must be a list of whole numbers; found \"1 2\"; write {\"ids\": [1, 2, 3]}");
  EXPECT_EQ(message_for("{\"ids\": [1, 2.5]}"),
            "in.jsonl line 1: 'ids' must hold whole numbers from 0 up; found 2.5 at index 1; correct the row");
  EXPECT_EQ(message_for("{\"ids\": [-1]}"),
            "in.jsonl line 1: 'ids' must hold whole numbers from 0 up; found -1 at index 0; correct the row");
  EXPECT_EQ(message_for("{}"), "in.jsonl line 1: a row needs either 'text' or 'ids'; found neither; give one of them");
  EXPECT_EQ(message_for("{\"text\": \"a\", \"ids\": [1]}"),
            "in.jsonl line 1: a row needs either 'text' or 'ids'; found both; give one of them");
  EXPECT_EQ(message_for("[1, 2]"), "in.jsonl line 1: expected a JSON object with 'text' or 'ids'; found [1,2]");
  EXPECT_EQ(message_for("{\"text\": \"a"),
            "in.jsonl line 1: expected one JSON object; it breaks at byte 12; write one row a line");
  EXPECT_EQ(message_for("{\"text\": \"\xFF\"}"), "in.jsonl line 1: expected UTF-8; byte 11 is not; convert the file");
  EXPECT_EQ(message_for("\n{\"ids\": [5000]}"), "in.jsonl line 2: ids must be from 0 to 999; found 5000 at index 0");
}

TEST(ScoreRows, LongValuesAreShortenedInMessages) {
  const std::string message = message_for(Json({{"ids", std::string(500, 'x')}}).dump());
  EXPECT_LT(message.size(), 200u);
  EXPECT_NE(message.find("..."), std::string::npos);
}

TEST(ScoreRows, RefuseAProbabilityThatIsNotFinite) {
  ScoreFunctions functions = fake_functions();
  functions.log_probabilities = [](std::span<const std::int32_t> ids) {
    return std::vector<float>(ids.size(), std::numeric_limits<float>::quiet_NaN());
  };
  std::istringstream stream("{\"ids\": [1, 2]}");
  try {
    score_rows(stream, "in.jsonl", functions, [](std::string_view) {});
    FAIL() << "NaN was accepted";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(),
                 "in.jsonl line 1: expected finite log-probabilities; found NaN at index 1; use --dtype bf16 or fp32, "
                 "or check the weights");
  }
}

TEST(ScoreRows, StopBetweenRowsWhenInterrupted) {
  std::atomic<int> signal{0};
  ScoreFunctions functions = fake_functions();
  functions.interrupted = &signal;
  std::istringstream stream("{\"ids\": [1]}\n{\"ids\": [2]}\n{\"ids\": [3]}");
  const ScoreTotals totals = score_rows(stream, "in.jsonl", functions, [&](std::string_view) { signal = 2; });
  EXPECT_TRUE(totals.interrupted);
  EXPECT_EQ(totals.rows, 1);
}

TEST(Summarize, IsTheMeanOverWhatFollowsTheFirstToken) {
  const std::vector<float> logprobs = {std::numeric_limits<float>::quiet_NaN(), -1.0f, -3.0f};
  EXPECT_DOUBLE_EQ(summarize(logprobs).nll, 2.0);
  EXPECT_DOUBLE_EQ(summarize(logprobs).perplexity, std::exp(2.0));
  EXPECT_EQ(summarize({}).nll, 0.0);
}

}  // namespace

}  // namespace baichuan
