#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/files.h"
#include "core/json.h"
#include "data/tokenizer.h"
#include "tests/cli/program.h"
#include "tests/scratch_directory.h"

namespace baichuan {

namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::string kVocabulary = BAICHUAN_SOURCE_DIR "/configs/quickstart/tokenizer.model";

class PreviewProgram : public testing::Test {
 protected:
  void SetUp() override {
    Json rows = Json::array();
    for (int i = 0; i < 8; ++i) rows.push_back({{"instruction", "Say it."}, {"output", std::to_string(i)}});
    rows.push_back({{"instruction", "Say much."}, {"output", std::string(300, '7')}});
    rows.push_back({{"instruction", "Say much."}, {"output", std::string(400, '8')}});
    rows.push_back({{"instruction", ""}, {"output", "dropped"}});
    write_json_file(scratch_ / "rows.json", rows);
  }
  RunResult preview(std::vector<std::string> more) {
    more.insert(more.begin(), {"preview", "--model_name_or_path", kVocabulary, "--dataset", scratch_ / "rows.json",
                               "--template", "vanilla", "--cutoff_len", "64", "--log_level", "warning"});
    return run_baichuan(more, {.environment = {{"XDG_CACHE_HOME", scratch_ / "cache"}}});
  }

  ScratchDirectory scratch_;
};

TEST_F(PreviewProgram, CountsRowsAndSaysWhatShareIsTruncated) {
  const auto result = preview({"--json", "--rows", "1", "--val_size", "3"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const Json report = Json::parse(result.out);
  EXPECT_EQ(report.at("rows_read"), 11);
  EXPECT_EQ(report.at("rows_kept"), 10);
  EXPECT_EQ(report.at("rows_empty"), 1);
  EXPECT_EQ(report.at("rows_truncated"), 2);
  EXPECT_EQ(report.at("share_truncated"), 0.2);
  EXPECT_EQ(report.at("train_rows"), 7);
  EXPECT_EQ(report.at("eval_rows"), 3);
  EXPECT_GE(report.at("length").at("max"), 60);
  EXPECT_LE(report.at("length").at("max"), 64);
  std::int64_t rows = 0;
  for (const Json& bucket : report.at("histogram")) rows += bucket.at("rows").get<std::int64_t>();
  EXPECT_EQ(rows, 10);
}

TEST_F(PreviewProgram, ShowsIdsPiecesAndLabelsOfTheFirstRows) {
  const Json report = Json::parse(preview({"--json", "--rows", "2"}).out);
  ASSERT_EQ(report.at("examples").size(), 2);
  const Tokenizer tokenizer(kVocabulary);
  const Json& first = report.at("examples")[0];
  const Json& ids = first.at("ids");
  ASSERT_EQ(first.at("pieces").size(), ids.size());
  ASSERT_EQ(first.at("labels").size(), ids.size());
  std::vector<std::int32_t> learnt;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(first.at("pieces")[i], tokenizer.piece(ids[i]));
    if (first.at("labels")[i] == -100) continue;
    EXPECT_EQ(first.at("labels")[i], ids[i]);
    learnt.push_back(ids[i]);
  }
  ASSERT_FALSE(learnt.empty());
  EXPECT_EQ(learnt.back(), tokenizer.eos_id());
  learnt.pop_back();
  EXPECT_EQ(tokenizer.decode(learnt), "0");
}

TEST_F(PreviewProgram, SaysTheSameToPeople) {
  const auto result = preview({"--rows", "1"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("rows      11 read, 10 kept; 1 without instruction or output"),
                                HasSubstr("split     10 for training, 0 for evaluation"),
                                HasSubstr("cut       2 rows (20.00 %)"), HasSubstr("longest 6"), HasSubstr("\nrow 0: "),
                                HasSubstr("\nids     ["), HasSubstr("\npieces  ["), HasSubstr("\nlabels  [-100, ")));
  EXPECT_THAT(result.out, testing::Not(HasSubstr("row 1: ")));
}

TEST_F(PreviewProgram, EndsWithTwoForWrongUsageAndOneForBadData) {
  EXPECT_EQ(preview({"--dataset", ""}).status, 2);
  EXPECT_EQ(run_baichuan({"preview", "--dataset", "x"}).err,
            "error: preview needs --model_name_or_path; found none; give a model directory, a hub id or a "
            "tokenizer.model\n");
  const auto missing = preview({"--dataset", "nowhere"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, AllOf(testing::StartsWith("error: "), HasSubstr("nowhere")));
  EXPECT_EQ(preview({"--packing"}).err, "error: --packing is known but not built yet; leave it out or at false\n");
}

}  // namespace

}  // namespace baichuan
