#include "infer/utf8_stream.h"

#include <gtest/gtest.h>

#include "data/utf8.h"

namespace baichuan {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

std::string repaired(std::string_view bytes) {
  Utf8Stream stream;
  std::string text = stream.append(bytes);
  return text + stream.finish();
}

std::string replacements(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += kReplacement;
  return text;
}

TEST(Utf8Stream, EmitsACharacterOnlyWhenItIsWhole) {
  Utf8Stream stream;
  EXPECT_EQ(stream.append("a\xF0"), "a");
  EXPECT_EQ(stream.append("\x9F"), "");
  EXPECT_EQ(stream.append("\x91"), "");
  EXPECT_EQ(stream.append("\x8D!"), "\xF0\x9F\x91\x8D!");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Utf8Stream, AnySplitOfATextGivesTheSameText) {
  const std::string text = "x\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBDz";
  for (std::size_t a = 0; a <= text.size(); ++a) {
    for (std::size_t b = a; b <= text.size(); ++b) {
      Utf8Stream stream;
      std::string got = stream.append(text.substr(0, a));
      EXPECT_EQ(find_invalid_utf8(got), std::string::npos);
      got += stream.append(text.substr(a, b - a));
      got += stream.append(text.substr(b));
      EXPECT_EQ(got + stream.finish(), text);
    }
  }
}

// The Unicode Standard, section 3.9: one replacement for each maximal subpart.
TEST(Utf8Stream, ReplacesEachMaximalSubpart) {
  EXPECT_EQ(repaired("\xED\xA0\x80"), replacements(3));            // a surrogate
  EXPECT_EQ(repaired("\xF0\x80\x80\x41"), replacements(3) + "A");  // overlong
  EXPECT_EQ(repaired("\xE2\x80\x41"), replacements(1) + "A");      // cut short
  EXPECT_EQ(repaired("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), replacements(8) + "A");
  EXPECT_EQ(repaired("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), replacements(5) + "A" + replacements(2) + "B");
  EXPECT_EQ(repaired("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), replacements(4) + "A");
}

TEST(Utf8Stream, AnIncompleteEndIsOneReplacement) {
  EXPECT_EQ(repaired("a\xF0\x9F\x91"), "a\xEF\xBF\xBD");
  EXPECT_EQ(repaired(""), "");
}

// A stream must tell what is incomplete from what is wrong and so looks at bytes itself; both follow one standard.
TEST(Utf8Stream, RepairsExactlyWhatIsInvalid) {
  const std::string bytes("a\x80\xBF\xC0\xC2\xE0\xA0\xED\xF0\x90\xF4\xF5", 12);
  for (const char first : bytes)
    for (const char second : bytes)
      for (const char third : bytes)
        for (const char fourth : bytes) {
          const std::string text{first, second, third, fourth};
          EXPECT_EQ(find_invalid_utf8(text) == std::string::npos, repaired(text) == text)
              << testing::PrintToString(text);
        }
}

TEST(WithoutControlCharacters, KeepsTextAndDropsWhatSteersATerminal) {
  EXPECT_EQ(without_control_characters("a\x1b[31mred\x07\r\n\tb\x7f"), "a[31mred\n\tb");
  EXPECT_EQ(without_control_characters("\xC2\x9B"
                                       "31m \xC2\xA0\xE4\xBD\xA0"),
            "31m \xC2\xA0\xE4\xBD\xA0");
  EXPECT_EQ(without_control_characters(""), "");
}

}  // namespace

}  // namespace baichuan
