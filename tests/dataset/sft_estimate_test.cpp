#include "data/sft_estimate.h"

#include "core/log.h"
#include "data/sft_dataset.h"
#include "dataset_test_support.h"

namespace baichuan {
namespace {

std::string row(const std::string& output) {
  return Json{{"instruction", "question"}, {"input", ""}, {"output", output}}.dump();
}

class SftEstimateTest : public testing::Test {
 protected:
  DataOptions options(const std::string& dataset) const {
    DataOptions data;
    data.dataset = dataset;
    data.dataset_dir = folder_.path().string();
    data.dataset_cache_dir = (folder_.path() / "cache").string();
    data.template_name = "vanilla";
    return data;
  }
  // n rows of 1 to 7 answer tokens.
  fs::path rows(int n) const {
    std::string text;
    for (int i = 0; i < n; ++i) {
      std::string answer = "answer";
      for (int word = 0; word < i % 7; ++word) answer += " answer";
      text += row(answer) + "\n";
    }
    return folder_.write("rows.jsonl", text);
  }

  TemporaryDirectory folder_;
};

TEST_F(SftEstimateTest, CountsTheRowsAndSplitsThem) {
  DataOptions data = options(rows(1000).string());
  data.val_size = 0.1;
  const SftEstimate estimate = estimate_sft(data, &small_tokenizer(), 42);
  EXPECT_EQ(estimate.train_rows, 900);
  EXPECT_EQ(estimate.eval_rows, 100);
  EXPECT_EQ(estimate.longest, data.cutoff_len) << "not known without tokenising";
  ASSERT_EQ(estimate.notes.size(), 1);
  EXPECT_NE(estimate.notes[0].find("estimated"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder_.path() / "cache"));
}

TEST_F(SftEstimateTest, ASampleHasTheMeanOfTheWhole) {
  log::set_level(log::Level::kError);
  const DataOptions data = options(rows(1000).string());
  const SftEstimate sampled = estimate_sft(data, &small_tokenizer(), 42);
  const SftSplits whole = prepare_sft(data, small_tokenizer(), 42);
  const SftEstimate known = estimate_sft(data, &small_tokenizer(), 42);
  const double mean = static_cast<double>(whole.counts.tokens) / 1000;
  EXPECT_NEAR(sampled.mean_tokens, mean, 0.02 * mean);
  EXPECT_DOUBLE_EQ(known.mean_tokens, mean);
  EXPECT_TRUE(known.notes.empty()) << "a cache leaves nothing to guess";
  EXPECT_LT(known.longest, 20);
  EXPECT_NEAR(sampled.labelled_share, known.labelled_share, 0.02);
}

TEST_F(SftEstimateTest, MaxSamplesLimitsTheRows) {
  DataOptions data = options(rows(1000).string());
  data.max_samples = 300;
  EXPECT_EQ(estimate_sft(data, &small_tokenizer(), 42).train_rows, 300);
  EXPECT_EQ(estimate_sft(data, nullptr, 42).train_rows, 300);
}

TEST_F(SftEstimateTest, WithoutATokenizerBytesGiveTheLength) {
  SKIP_WITHOUT_SHARED_DATA();
  for (const char* const name : {"alpaca_en_demo.json", "alpaca_zh_demo.json"}) {
    DataOptions data = options((shared_data() / name).string());
    data.template_name = "default";
    const SftEstimate by_bytes = estimate_sft(data, nullptr, 42);
    const SftEstimate sampled = estimate_sft(data, &baichuan_tokenizer(), 42);
    EXPECT_NEAR(by_bytes.mean_tokens, sampled.mean_tokens, 0.1 * sampled.mean_tokens) << name;
    EXPECT_NEAR(by_bytes.mean_padded_tokens(4), sampled.mean_padded_tokens(4), 0.15 * sampled.mean_padded_tokens(4));
  }
}

TEST_F(SftEstimateTest, PaddingGoesToTheLongestOfAMicroBatch) {
  SftEstimate estimate;
  estimate.lengths = {1, 3, 5, 2, 7};
  EXPECT_DOUBLE_EQ(estimate.mean_padded_tokens(1), 18.0 / 5);
  EXPECT_DOUBLE_EQ(estimate.mean_padded_tokens(2), (2 * 3 + 2 * 5 + 7) / 5.0);
  estimate.lengths.clear();
  estimate.mean_tokens = 100;
  estimate.longest = 150;
  EXPECT_DOUBLE_EQ(estimate.mean_padded_tokens(1), 100);
  EXPECT_DOUBLE_EQ(estimate.mean_padded_tokens(2), 130);
  EXPECT_DOUBLE_EQ(estimate.mean_padded_tokens(64), 150) << "no row is longer than the limit";
}

TEST_F(SftEstimateTest, KnownDataSetsNeedNoFiles) {
  folder_.write("dataset_info.json", R"({"alpaca_gpt4_en": {"file_name": "en.json"}, "alpaca_gpt4_zh": {"file_name":
      "zh.json"}, "mine": {"file_name": "mine.json"}})");
  DataOptions data = options("alpaca_gpt4_en,alpaca_gpt4_zh");
  data.val_size = 0.01;
  const SftEstimate estimate = estimate_sft(data, nullptr, 42);
  EXPECT_EQ(estimate.train_rows, 99811);
  EXPECT_EQ(estimate.eval_rows, 1009);
  EXPECT_THROW(estimate_sft(options("mine"), nullptr, 42), DataError);
}

TEST_F(SftEstimateTest, TheLimitIsTheOneThatTheFlagsSet) {
  DataOptions data;
  EXPECT_EQ(row_limit_tokens(data), 1024);
  data.max_source_length = 300;
  EXPECT_EQ(row_limit_tokens(data), 300 + 512);
}

}  // namespace
}  // namespace baichuan
