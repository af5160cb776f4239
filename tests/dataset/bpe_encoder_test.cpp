// Law: our encoder and SentencePiece give the same ids for every text.
#include "data/bpe_encoder.h"

#include <sentencepiece_processor.h>

#include "core/files.h"
#include "dataset_test_support.h"

namespace baichuan {
namespace {

class BothEncoders {
 public:
  // `changes` is appended to the model: in a protocol buffer the last value of a field holds.
  explicit BothEncoders(const fs::path& model_file, std::string_view changes = {})
      : bytes_(read_file(model_file) + std::string(changes)),
        model_(parse_sentencepiece_model(bytes_, model_file.string())),
        parsed_(model_, ControlPieces::kParsed, "test"),
        plain_(model_, ControlPieces::kPlainText, "test") {
    EXPECT_TRUE(processor_.LoadFromSerializedProto({bytes_.data(), bytes_.size()}).ok());
    cached_.cache = std::make_unique<WordCache>();
  }

  std::vector<int32_t> expected(const std::string& text) const {
    std::vector<int> ids;
    EXPECT_TRUE(processor_.Encode(text, &ids).ok());
    return ids;
  }

  std::vector<int32_t> ours(const BpeEncoder& encoder, std::string_view text, BpeEncoder::Workspace& workspace) {
    std::vector<int32_t> ids;
    if (!text.empty()) encoder.append(text, /*at_start=*/true, workspace, ids);
    return ids;
  }

  void expect_equal(const std::string& text) {
    const auto want = expected(text);
    EXPECT_EQ(ours(parsed_, text, cached_), want) << text;
    EXPECT_EQ(ours(parsed_, text, uncached_), want) << text;
    const bool may_hold_control = text.find('<') != std::string::npos || text.find("\xef\xbc\x9c") != std::string::npos;
    if (may_hold_control) return;
    EXPECT_EQ(ours(plain_, text, plain_workspace_), want) << text;
  }

 private:
  std::string bytes_;
  SentencePieceModel model_;
  BpeEncoder parsed_, plain_;
  sentencepiece::SentencePieceProcessor processor_;
  BpeEncoder::Workspace cached_, uncached_, plain_workspace_;
};

constexpr std::string_view kOddParts[] = {"a",
                                          "the",
                                          " ",
                                          "  ",
                                          "\n",
                                          "\t",
                                          "e",
                                          "\xcc\x81",
                                          "\xe4\xbd\xa0",
                                          "\xe5\xa5\xbd",
                                          "1",
                                          "23",
                                          "...",
                                          "-",
                                          "---",
                                          "-->",
                                          "<!--",
                                          "<",
                                          ">",
                                          "</",
                                          "<h1>",
                                          "</s>",
                                          "<s>",
                                          "<unk>",
                                          "<SEP>",
                                          "<reserved_102>",
                                          "<reserved_",
                                          "102>",
                                          "\xef\xbc\x88",
                                          "\xef\xbc\x9c",
                                          "\xef\xbc\x9e",
                                          "\xe3\x80\x80",
                                          "\xc2\xa0",
                                          "\xe2\x96\x81",
                                          "\xc2\xbd",
                                          "\xef\xac\x81",
                                          "\xf0\x9f\x98\x80",
                                          "\xff",
                                          "\xc3",
                                          "\xe4\xbd",
                                          "\r",
                                          std::string_view("\0", 1),
                                          "\x01",
                                          "A",
                                          "\xcc\x8a",
                                          "river",
                                          "ing",
                                          "`",
                                          "```",
                                          "!",
                                          "\xef\xbc\x81",
                                          "\xef\xbf\xbd",
                                          "\xe2\x80\x8b",
                                          "\xe3\x82\xab\xe3\x82\x99",
                                          "\xed\xa0\x80",
                                          "\xc0\xaf",
                                          "ooo",
                                          "tt",
                                          "sh",
                                          "\xea\xb0\x80"};

// Strings of characters that meet at odd places: rules, symbols, spaces, combining marks, malformed bytes.
std::string odd_text(Dice& dice) {
  std::string text;
  const std::size_t parts = 1 + dice.below(24);
  for (std::size_t i = 0; i < parts; ++i) text += kOddParts[dice.below(std::size(kOddParts))];
  return text;
}

TEST(BpeEncoder, AgreesWithSentencePieceOnOddTexts) {
  BothEncoders encoders(small_model_path());
  Dice dice(1);
  for (int round = 0; round < 20000; ++round) encoders.expect_equal(odd_text(dice));
}

TEST(BpeEncoder, AgreesWithSentencePieceUnderOtherSettings) {
  using namespace std::string_view_literals;
  // normalizer_spec (field 3) with add_dummy_prefix (3) or remove_extra_whitespaces (4) set the other way.
  for (const auto changes : {"\x1a\x02\x18\x00"sv, "\x1a\x02\x20\x01"sv, "\x1a\x04\x18\x00\x20\x01"sv}) {
    BothEncoders encoders(small_model_path(), changes);
    Dice dice(3);
    for (int round = 0; round < 5000; ++round) encoders.expect_equal(odd_text(dice));
    for (const char* text : {" ", "  ", " a", "a ", "\x01", " \x01 ", "\xe3\x80\x80"}) encoders.expect_equal(text);
  }
}

// A piece with a space inside: words can no longer be told apart at spaces.
TEST(BpeEncoder, AgreesWithSentencePieceWherePiecesHoldSpaces) {
  using namespace std::string_view_literals;
  // A piece (field 1) made of two spaces, and one of a letter, a space and a letter.
  BothEncoders encoders(small_model_path(),
                        "\x0a\x0d\x0a\x06\xe2\x96\x81\xe2\x96\x81\x15\x00\x00\x00\x00"
                        "\x0a\x0b\x0a\x04o\xe2\x96\x81\x15\x00\x00\x80\xbf"
                        "\x0a\x0c\x0a\x05o\xe2\x96\x81o\x15\x00\x00\x00\xc0"sv);
  Dice dice(4);
  for (int round = 0; round < 5000; ++round) encoders.expect_equal(odd_text(dice));
  encoders.expect_equal("o o   ooo o to  o o\no o");
}

TEST(BpeEncoder, AgreesWithSentencePieceOnLongWords) {
  BothEncoders encoders(small_model_path());
  encoders.expect_equal(std::string(20000, 'o'));
  std::string words;
  for (int i = 0; i < 5000; ++i) words += i % 7 == 0 ? "" : "theriverringing";
  encoders.expect_equal(words);
}

TEST(BpeEncoder, AgreesWithSentencePieceOnBaichuansVocabulary) {
  SKIP_WITHOUT_SHARED_DATA();
  BothEncoders encoders(baichuan_model_path());
  Dice dice(2);
  for (int round = 0; round < 20000; ++round) encoders.expect_equal(odd_text(dice));
  for (const char* name : {"alpaca_en_demo.json", "alpaca_zh_demo.json"})
    for (const Json& row : read_json_file(shared_data() / name))
      for (const char* field : {"instruction", "input", "output"}) encoders.expect_equal(row.at(field));
}

// Every code point that the real normaliser can meet, alone and between letters.
TEST(BpeEncoder, AgreesWithSentencePieceOnEveryCharacter) {
  SKIP_WITHOUT_SHARED_DATA();
  BothEncoders encoders(baichuan_model_path());
  std::string text;
  for (uint32_t code = 0; code < 0x20000; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    if (code >= 0x10000)
      text += {static_cast<char>(0xf0 | (code >> 18)), static_cast<char>(0x80 | ((code >> 12) & 63)),
               static_cast<char>(0x80 | ((code >> 6) & 63)), static_cast<char>(0x80 | (code & 63))};
    else if (code >= 0x800)
      text += {static_cast<char>(0xe0 | (code >> 12)), static_cast<char>(0x80 | ((code >> 6) & 63)),
               static_cast<char>(0x80 | (code & 63))};
    else if (code >= 0x80)
      text += {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 63))};
    else
      text += static_cast<char>(code);
    if (code % 3 == 0) text += 'a';
    if (code % 64 != 63) continue;
    encoders.expect_equal(text);
    text.clear();
  }
}

TEST(BpeEncoder, ContinuesAStringWithoutTheDummySpace) {
  const Tokenizer& tokenizer = small_tokenizer();
  PlainEncoder encoder(tokenizer);
  const auto continued = [&](std::string_view text) {
    std::vector<int32_t> ids;
    encoder.append_part(text, /*at_start=*/false, ids);
    return ids;
  };
  // What stands after a role piece inside one string.
  for (const std::string text : {"the river", "你好", "\n1", " a"}) {
    std::vector<int32_t> whole = tokenizer.encode("<reserved_102>" + text);
    whole.erase(whole.begin(), whole.begin() + 2);  // the dummy space and the role
    EXPECT_EQ(continued(text), whole) << text;
  }
  EXPECT_TRUE(continued("").empty());
  std::vector<int32_t> ids;
  encoder.append_part("", /*at_start=*/true, ids);
  EXPECT_EQ(ids, std::vector<int32_t>{*tokenizer.find_piece("\xe2\x96\x81")});
}

TEST(BpeEncoder, TellsControlPiecesFromOthers) {
  for (const char* piece : {"<SEP>", "<CLS>", "<reserved_0>", "<reserved_299>", "<reserved_1000>"})
    EXPECT_TRUE(is_control_like(piece)) << piece;
  for (const char* piece : {"<h1>", "\n", "<reserved_>", "<reserved_x>", "<reserved_1", "<!-->", "reserved_1>"})
    EXPECT_FALSE(is_control_like(piece)) << piece;
}

TEST(BpeEncoder, RefusesAVocabularyThatIsNotBytePair) {
  SentencePieceModel model;
  model.pieces = {{"<unk>", 0, PieceType::kUnknown}, {"a", 0, PieceType::kNormal}};
  const std::string message =
      message_of<DataError>([&] { BpeEncoder encoder(model, ControlPieces::kParsed, "some.model"); });
  EXPECT_CONTAINS(message, "some.model: expected a byte-pair vocabulary");
  EXPECT_CONTAINS(message, "type 1");
  model.model_type = SentencePieceModel::kBpe;
  model.byte_fallback = true;
  EXPECT_CONTAINS(message_of<DataError>([&] { BpeEncoder encoder(model, ControlPieces::kParsed, "some.model"); }),
                  "expected a piece for every byte; found none for 0x00");
  model.byte_fallback = false;
  model.charsmap = "xx";
  EXPECT_CONTAINS(message_of<DataError>([&] { BpeEncoder encoder(model, ControlPieces::kParsed, "some.model"); }),
                  "expected normalisation rules; found 2 damaged bytes");
}

TEST(BpeEncoder, WritesARunOfUnknownCharactersAsOneIdWithoutBytePieces) {
  SentencePieceModel model;
  model.model_type = SentencePieceModel::kBpe;
  model.remove_extra_whitespaces = false;
  model.pieces = {
      {"<unk>", 0, PieceType::kUnknown}, {"a", 0, PieceType::kNormal}, {kSpaceSymbol, -1, PieceType::kNormal}};
  const BpeEncoder encoder(model, ControlPieces::kParsed, "test");
  BpeEncoder::Workspace workspace;
  std::vector<int32_t> ids;
  encoder.append("axyza", /*at_start=*/true, workspace, ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{2, 1, 0, 1}));
}

}  // namespace
}  // namespace baichuan
