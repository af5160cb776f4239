#include "infer/text_stream.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "core/json.h"
#include "data/utf8.h"

namespace baichuan {

namespace {

const std::filesystem::path kTokenizer = BAICHUAN_SHARED_DATA "/baichuan_tokenizer/tokenizer.model";
const std::filesystem::path kPrompts = BAICHUAN_SHARED_DATA "/golden/chat_prompts.json";

#define SKIP_WITHOUT_TOKENIZER() \
  if (!std::filesystem::exists(kTokenizer)) GTEST_SKIP() << "needs ../shared/data/baichuan_tokenizer"

std::string streamed(const Tokenizer& tokenizer, std::span<const std::int32_t> ids) {
  TextStream stream(tokenizer);
  std::string text;
  for (const auto id : ids) {
    const std::string piece = stream.append(id);
    EXPECT_EQ(find_invalid_utf8(piece), std::string::npos);
    text += piece;
  }
  return text + stream.finish();
}

TEST(TextStream, GrowsAsTheRecordedStreamsOfThePublishedCode) {
  SKIP_WITHOUT_TOKENIZER();
  if (!std::filesystem::exists(kPrompts)) GTEST_SKIP() << "needs ../shared/data/golden/chat_prompts.json";
  const Tokenizer tokenizer(kTokenizer);
  const Json file = read_json_file(kPrompts);
  ASSERT_EQ(file["streamer"].size(), 3u);
  for (const Json& one : file["streamer"]) {
    TextStream stream(tokenizer);
    std::string text;
    const auto ids = one["ids"].get<std::vector<std::int32_t>>();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      text += stream.append(ids[i]);
      EXPECT_EQ(text, one["cumulative"][i].get<std::string>()) << one["text"] << " after " << i + 1 << " ids";
    }
    EXPECT_EQ(stream.finish(), "");
  }
}

TEST(TextStream, AddsUpToTheDecodedText) {
  SKIP_WITHOUT_TOKENIZER();
  const Tokenizer tokenizer(kTokenizer);
  for (const char* text :
       {"Hello  world\n\n", " leading", "你好👍🏽，世界", "𠮷野家 and ﷽", "1+1=2\t<br>", ""}) {
    const auto ids = tokenizer.encode_plain(text);
    EXPECT_EQ(streamed(tokenizer, ids), tokenizer.decode(ids)) << text;
  }
}

TEST(TextStream, HoldsAnEmojiOfFourBytePiecesUntilItIsWhole) {
  SKIP_WITHOUT_TOKENIZER();
  const Tokenizer tokenizer(kTokenizer);
  TextStream stream(tokenizer);
  // Byte pieces begin at 393; U+1F986 is F0 9F A6 86.
  EXPECT_EQ(stream.append(393 + 0xF0), "");
  EXPECT_EQ(stream.append(393 + 0x9F), "");
  EXPECT_EQ(stream.append(393 + 0xA6), "");
  EXPECT_EQ(stream.append(393 + 0x86), "🦆");
  EXPECT_EQ(stream.append(393 + 0xF0), "");
  EXPECT_EQ(stream.append(650), "\xEF\xBF\xBD a");
  EXPECT_EQ(stream.append(393 + 0xE4), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

TEST(TextStream, KeepsABlankThatIsAByteOfItsOwn) {
  SKIP_WITHOUT_TOKENIZER();
  const Tokenizer tokenizer(kTokenizer);
  const std::vector<std::int32_t> ids = {393 + 0x20, 650};
  EXPECT_EQ(streamed(tokenizer, ids), "  a");
}

}  // namespace

}  // namespace baichuan
