#include "train/deepspeed_json.h"

#include <fstream>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/scratch_directory.h"

namespace baichuan {
namespace {

OrderedJson parse(std::string_view text) {
  return parse_deepspeed_json(text, "ds.json");
}

std::string failure(std::string_view text) {
  try {
    parse(text);
  } catch (const DataError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

std::string expected(const std::string& middle) {
  return "ds.json " + middle + "; see docs/DEEPSPEED.md for what such a file holds";
}

TEST(DeepSpeedJson, ReadsWhatIsJson) {
  const char* const text =
      R"({"a": [1, -2.5, 5e8, true, false, null], "b": {"c": "d\"\\\/\b\f\n\r\té é"}, "e": {}, "f": []})";
  EXPECT_EQ(parse(text), OrderedJson::parse(text));
}

TEST(DeepSpeedJson, SkipsCommentsOfThreeKindsAndAByteOrderMark) {
  EXPECT_EQ(parse("\xEF\xBB\xBF# one\n{ // two\n  a: 1, /* three\n four */ b: 2 # five\n} // six"),
            OrderedJson::parse(R"({"a": 1, "b": 2})"));
}

TEST(DeepSpeedJson, CommentMarksInTextsAreText) {
  EXPECT_EQ(parse(R"({"a": "x // y # z /* w"})"), OrderedJson::parse(R"({"a": "x // y # z /* w"})"));
}

TEST(DeepSpeedJson, KeysAndWordsNeedNoQuotes) {
  EXPECT_EQ(parse("{type: AdamW, 'betas': [0.9, 0.999,], nvme_path: /local/nvme, \"on\": true}"),
            OrderedJson::parse(R"({"type": "AdamW", "betas": [0.9, 0.999], "nvme_path": "/local/nvme", "on": true})"));
}

TEST(DeepSpeedJson, CommasMayTrailAndALinesEndStandsForOne) {
  EXPECT_EQ(parse("{\n  a: 1\n  b: [1\n 2,]\n  c: 3,\n}"), OrderedJson::parse(R"({"a": 1, "b": [1, 2], "c": 3})"));
}

TEST(DeepSpeedJson, AWordThatOnlyBeginsAsANumberIsAText) {
  EXPECT_EQ(parse("{a: 1e5x, b: 5e8, c: -, d: -7}"),
            OrderedJson::parse(R"({"a": "1e5x", "b": 5e8, "c": "-", "d": -7})"));
}

TEST(DeepSpeedJson, ADuplicateKeyIsNamedWithItsLine) {
  EXPECT_EQ(failure("{\"fp16\": 1,\n \"fp16\": 2}"),
            expected("line 2: expected every key once in its object; found \"\\\"fp16\\\": 2}\""));
}

TEST(DeepSpeedJson, NamesTheLineOfEveryMistake) {
  EXPECT_EQ(failure(""), expected("line 1: expected an object in braces; found the end of the file"));
  EXPECT_EQ(failure("[]"), expected("line 1: expected an object in braces; found \"[]\""));
  EXPECT_EQ(failure("{} x"), expected("line 1: expected nothing after the closing brace; found \"x\""));
  EXPECT_EQ(failure("{\n/* a"), expected("line 2: expected the end */ of this comment; found \"/* a\""));
  EXPECT_EQ(failure("{a: 1 b: 2}"), expected("line 1: expected ',' or '}'; found \"b: 2}\""));
  EXPECT_EQ(failure("{a: [1,\n"), expected("line 2: expected ']'; found the end of the file"));
  EXPECT_EQ(failure("{,}"), expected("line 1: expected a key; found \",}\""));
  EXPECT_EQ(failure("{a 1}"), expected("line 1: expected ':' after the key; found \"1}\""));
  EXPECT_EQ(failure("{a: }"), expected("line 1: expected a value; found \"}\""));
  EXPECT_EQ(failure("{a: 1e999}"), expected("line 1: expected a number that float64 can hold; found \"1e999}\""));
  EXPECT_EQ(failure("{a: \"b\n"), expected("line 1: expected \" at the end of this text; found the end of the line"));
  EXPECT_EQ(failure(R"({a: "\x"})"), expected(R"(line 1: expected one of \" \\ \/ \b \f \n \r \t \u; found "x\"}")"));
  EXPECT_EQ(failure(R"({a: "\u12"})"),
            expected(R"(line 1: expected four hexadecimal digits after \u; found "u12\"}")"));
  EXPECT_EQ(failure("{a: " + std::string(40, '[')),
            expected("line 1: expected at most 32 levels of nesting; found \"[[[[[[[[\""));
}

TEST(DeepSpeedJson, TheArgumentIsAFileOrItsTextInBase64) {
  const ScratchDirectory scratch;
  const std::string path = scratch / "ds.json";
  std::ofstream(path) << "{a: 1}";
  EXPECT_EQ(read_deepspeed_argument(path).text, "{a: 1}");
  EXPECT_EQ(read_deepspeed_argument(path).origin, path);
  EXPECT_EQ(read_deepspeed_argument("eyJhIjogIj8_fn4ifQ==").text, R"({"a": "??~~"})");
  EXPECT_EQ(read_deepspeed_argument("eyJhIjogIj8_fn4ifQ").origin, "--deepspeed (base64)");
}

TEST(DeepSpeedJson, AFileThatIsMissingIsNamed) {
  EXPECT_THROW(
      {
        try {
          read_deepspeed_argument("no_such_file.json");
        } catch (const DataError& error) {
          EXPECT_STREQ(error.what(),
                       "--deepspeed must name DeepSpeed's JSON file; 'no_such_file.json' does not exist; give its "
                       "path, or one of configs/deepspeed/");
          throw;
        }
      },
      DataError);
  EXPECT_THROW(read_deepspeed_argument("bm8gYnJhY2Vz"), DataError) << "base64, but of a text without braces";
  EXPECT_THROW(read_deepspeed_argument(std::string(5000, 'a') + '!'), DataError) << "longer than any path";
}

TEST(DeepSpeedJson, AFolderIsNoFile) {
  const ScratchDirectory scratch;
  EXPECT_THROW(read_deepspeed_argument(scratch.path()), DataError);
}

}  // namespace
}  // namespace baichuan
