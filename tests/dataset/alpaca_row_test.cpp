#include "data/alpaca_row.h"

#include "data/sha1.h"
#include "dataset_test_support.h"

namespace baichuan {
namespace {

std::string refuse(std::string_view json, const ColumnNames& columns = {}) {
  try {
    (void)parse_alpaca_row(json, columns);
  } catch (const RowError& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown for " << json;
  return {};
}

TEST(AlpacaRow, JoinsInstructionAndInputWithANewline) {
  const AlpacaRow row = parse_alpaca_row(R"({"instruction":"do","input":"this","output":"done"})", {});
  EXPECT_EQ(row.query, "do\nthis");
  EXPECT_EQ(row.response, "done");
  EXPECT_FALSE(row.empty);
  EXPECT_EQ(parse_alpaca_row(R"({"instruction":"do","input":"","output":"done"})", {}).query, "do");
  EXPECT_EQ(parse_alpaca_row(R"({"instruction":"do","input":null,"output":"done"})", {}).query, "do");
  EXPECT_EQ(parse_alpaca_row(R"({"instruction":"do","output":"done"})", {}).query, "do");
}

TEST(AlpacaRow, ReadsHistoryAndSystem) {
  const AlpacaRow row =
      parse_alpaca_row(R"({"instruction":"c","output":"d","history":[["a","b"],["x","y"]],"system":"S"})", {});
  ASSERT_EQ(row.history.size(), 2U);
  EXPECT_EQ(row.history[1].second, "y");
  EXPECT_EQ(row.system, "S");
  EXPECT_TRUE(parse_alpaca_row(R"({"instruction":"c","output":"d","history":null,"system":null})", {}).history.empty());
}

TEST(AlpacaRow, KnowsEmptyRows) {
  EXPECT_TRUE(parse_alpaca_row(R"({"instruction":"","input":"x","output":"d"})", {}).empty);
  EXPECT_TRUE(parse_alpaca_row(R"({"instruction":"a","output":""})", {}).empty);
  EXPECT_TRUE(parse_alpaca_row(R"({"instruction":"a","output":null})", {}).empty);
}

TEST(AlpacaRow, ReadsRenamedColumnsAndLeavesAbsentOnes) {
  const ColumnNames columns{"q", std::nullopt, "a", std::nullopt, std::nullopt};
  const AlpacaRow row = parse_alpaca_row(R"({"q":"Q","input":"I","a":"A","history":"not read","system":7})", columns);
  EXPECT_EQ(row.query, "Q");
  EXPECT_EQ(row.response, "A");
  EXPECT_TRUE(row.history.empty());
}

TEST(AlpacaRow, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(refuse(R"({"output":"d"})"), "expected the field 'instruction'; found none");
  EXPECT_EQ(refuse(R"({"instruction":"a"})"), "expected the field 'output'; found none");
  EXPECT_EQ(refuse(R"({"instruction":"a","output":5})"), "field 'output' must be text; found number");
  EXPECT_EQ(refuse(R"({"instruction":["a"],"output":"b"})"), "field 'instruction' must be text; found array");
  EXPECT_EQ(refuse(R"({"instruction":"a","output":"b","history":"c"})"),
            "field 'history' must be a list of [question, answer]; found string");
  EXPECT_EQ(refuse(R"({"instruction":"a","output":"b","history":[["c","d"],["e"]]})"),
            "field 'history' must be a list of [question, answer]; found something else as entry 1");
  EXPECT_EQ(refuse(R"(["instruction"])"), "expected an object; found array");
}

TEST(AlpacaRow, NamesInvalidJsonAndUtf8) {
  EXPECT_CONTAINS(refuse(R"({"instruction":"a","output")"), "expected valid JSON; found a");
  EXPECT_CONTAINS(refuse(R"({"instruction":"\ud800","output":"b"})"), "expected valid JSON; found a");
  EXPECT_EQ(refuse("{\"instruction\":\"\xff\"}"), "expected UTF-8; found byte 0xFF as byte 16 of the row");
}

TEST(Sha1, GivesThePublishedDigests) {
  EXPECT_EQ(sha1_hex(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(sha1_hex("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(sha1_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT_EQ(sha1_hex(std::string(1000000, 'a')), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

}  // namespace
}  // namespace baichuan
