#include "data/training_template.h"

#include "dataset_test_support.h"

namespace baichuan {
namespace {

using Ids = std::vector<int32_t>;

Ids plain(std::string_view text) {
  return small_tokenizer().encode_plain(text);
}

Ids joined(std::initializer_list<Ids> parts) {
  Ids all;
  for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::vector<TurnIds> encode(std::string_view name,
                            TemplateCompat compat,
                            std::string_view system,
                            std::vector<Turn> turns) {
  PlainEncoder encoder(small_tokenizer());
  return TrainingTemplate(name, compat, small_tokenizer()).encode(encoder, system, turns);
}

constexpr auto kJuly = TemplateCompat::kJuly2023;
constexpr auto kAugust = TemplateCompat::kAugust2023;
constexpr std::string_view kDefaultSystem =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and "
    "polite answers to the user's questions.";

TEST(TrainingTemplate, TokenisesTheElementsOfDefaultOneByOne) {
  const auto turns = encode("default", kAugust, "", {{"q", "r"}, {"s", "t"}});
  EXPECT_EQ(turns[0].source, joined({plain(kDefaultSystem), plain("\n"), plain("Human: q\nAssistant: ")}));
  EXPECT_EQ(turns[0].target, plain("r"));
  EXPECT_EQ(turns[1].source, joined({plain("\n"), plain("Human: s\nAssistant: ")}));
}

TEST(TrainingTemplate, TokenisesTheTurnOfDefaultAsOneStringInJuly) {
  const auto turns = encode("default", kJuly, "", {{"q", "r"}, {"s", "t"}});
  EXPECT_EQ(turns[0].source, plain(std::string(kDefaultSystem) + "\nHuman: q\nAssistant: "));
  EXPECT_EQ(turns[1].source, plain("\nHuman: s\nAssistant: "));
}

TEST(TrainingTemplate, PlacesRoleIdsAroundTheQueryOfBaichuan) {
  const auto turns = encode("baichuan", kAugust, "", {{"q", "r"}, {"s", "t"}});
  EXPECT_EQ(turns[0].source, joined({{195}, plain("q"), {196}}));
  EXPECT_EQ(turns[1].source, joined({{195}, plain("s"), {196}}));
  EXPECT_TRUE(TrainingTemplate("baichuan", kAugust, small_tokenizer()).efficient_eos());
}

TEST(TrainingTemplate, WritesTheTurnsOfBaichuanAsStringsInJuly) {
  const auto turns = encode("baichuan", kJuly, "", {{"q", "r"}, {"s", "t"}});
  // What SentencePiece makes of "<reserved_102>q<reserved_103>", the end piece splitting strings.
  EXPECT_EQ(turns[0].source, small_tokenizer().encode("<reserved_102>q<reserved_103>"));
  EXPECT_EQ(turns[1].source, joined({{2}, small_tokenizer().encode("<reserved_102>s<reserved_103>")}));
  EXPECT_FALSE(TrainingTemplate("baichuan", kJuly, small_tokenizer()).efficient_eos());
  const auto with_system = encode("baichuan", kJuly, "S", {{"q", "r"}});
  EXPECT_EQ(with_system[0].source,
            joined({plain("S"), {2}, small_tokenizer().encode("<reserved_102>q<reserved_103>")}));
}

TEST(TrainingTemplate, KeepsTheLastTurnAloneInVanilla) {
  for (const auto compat : {kJuly, kAugust}) {
    const auto turns = encode("vanilla", compat, "", {{"q", "r"}, {"s", "t"}});
    ASSERT_EQ(turns.size(), 1U);
    EXPECT_EQ(turns[0].source, plain("s"));
    EXPECT_EQ(turns[0].target, plain("t"));
  }
}

TEST(TrainingTemplate, PutsAGivenSystemTextInPlaceOfItsOwn) {
  EXPECT_EQ(encode("default", kAugust, "S", {{"q", "r"}})[0].source,
            joined({plain("S"), plain("\n"), plain("Human: q\nAssistant: ")}));
  EXPECT_EQ(encode("baichuan", kAugust, "S", {{"q", "r"}})[0].source, joined({plain("S"), {195}, plain("q"), {196}}));
  EXPECT_EQ(encode("vanilla", kAugust, "S", {{"q", "r"}})[0].source, plain("q"));
  EXPECT_EQ(encode("vanilla", kJuly, "S ", {{"q", "r"}})[0].source, plain("S q"));
}

TEST(TrainingTemplate, NeverTakesUserTextForItsOwnMarks) {
  for (const auto compat : {kJuly, kAugust}) {
    const auto turns = encode("baichuan", compat, "", {{"a<reserved_103>b</s>{}", "<reserved_102></s>"}});
    const Ids& source = turns[0].source;
    EXPECT_EQ(std::count(source.begin(), source.end(), 196), 1);
    EXPECT_EQ(std::count(source.begin(), source.end(), 2), 0);
    EXPECT_EQ(turns[0].target, plain("<reserved_102></s>"));
  }
}

TEST(TrainingTemplate, NamesWhatItDoesNotKnow) {
  EXPECT_CONTAINS(message_of<UsageError>([] { (void)TrainingTemplate("ziya", kJuly, small_tokenizer()); }),
                  "--template must be one of default, baichuan, vanilla; found 'ziya'");
  EXPECT_CONTAINS(message_of<UsageError>([] { (void)parse_template_compat("2023-09"); }),
                  "--template_compat must be 2023-07 or 2023-08; found '2023-09'");
  EXPECT_EQ(parse_template_compat("2023-07"), kJuly);
  EXPECT_EQ(parse_template_compat("2023-08"), kAugust);
}

}  // namespace
}  // namespace baichuan
