#include "data/chat_template.h"

#include "dataset_test_support.h"

namespace baichuan {
namespace {

using Ids = std::vector<int32_t>;

std::vector<Message> messages_of(const Json& list) {
  std::vector<Message> messages;
  for (const Json& message : list) messages.push_back({message.at("role"), message.at("content")});
  return messages;
}

Ids joined(std::initializer_list<Ids> parts) {
  Ids all;
  for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Ids plain(std::string_view text) {
  return small_tokenizer().encode_plain(text);
}

TEST(ChatPrompt, EqualsTheOfficialCodeInEveryRecordedCase) {
  SKIP_WITHOUT_SHARED_DATA();
  const Json golden = read_json_file(shared_data() / "golden/chat_prompts.json");
  int compared = 0;
  for (const Json& row : golden.at("cases")) {
    const auto messages = messages_of(row.at("messages"));
    ChatPromptOptions options;
    if (const int64_t given = row.at("max_new_tokens"); given > 0) options.max_new_tokens = given;
    const Ids prompt = build_chat_prompt(baichuan_tokenizer(), messages, options);
    // Special pieces in a message are text here; where the official class takes them for ids the raw ids stand beside.
    if (row.at("name") == "role_token_text") {
      EXPECT_EQ(std::count(prompt.begin(), prompt.end(), 195), 1);
      EXPECT_EQ(std::count(prompt.begin(), prompt.end(), 196), 1);
      continue;
    }
    const char* const key = row.contains("ids_raw_sentencepiece") ? "ids_raw_sentencepiece" : "ids";
    EXPECT_EQ(prompt, ids_of(row.at(key))) << row.at("name");
    ++compared;
  }
  EXPECT_EQ(compared, 15);
}

TEST(ChatPrompt, LeavesAtMostHalfOfTheWindowToTheReplyUnlessAsked) {
  EXPECT_EQ(default_reply_tokens(2048, 4096), 2048);
  EXPECT_EQ(default_reply_tokens(512, 4096), 512);
  EXPECT_EQ(default_reply_tokens(2048, 160), 80);
  EXPECT_EQ(default_reply_tokens(2048, 1), 1);
}

TEST(ChatPrompt, EqualsTheConfirmedConversation) {
  SKIP_WITHOUT_SHARED_DATA();
  const Json chat = read_json_file(shared_data() / "baichuan_tokenizer/vectors.json").at("confirmed_chat");
  std::vector<Message> messages;
  for (const std::string line : chat.at("messages"))
    messages.push_back({line.substr(0, line.find(':')), line.substr(line.find(':') + 1)});
  EXPECT_EQ(build_chat_prompt(baichuan_tokenizer(), messages), ids_of(chat.at("ids")));
}

TEST(ChatPrompt, PutsTheSystemTextFirstAndEndsWithTheAssistantsTurn) {
  const std::vector<Message> messages = {{"system", "Be short."}, {"user", "你好"}};
  EXPECT_EQ(build_chat_prompt(small_tokenizer(), messages), joined({plain("Be short."), {195}, plain("你好"), {196}}));
}

TEST(ChatPrompt, ContinuesAnAnswerThatIsLast) {
  const std::vector<Message> messages = {{"user", "a"}, {"assistant", "The river"}};
  EXPECT_EQ(build_chat_prompt(small_tokenizer(), messages), joined({{195}, plain("a"), {196}, plain("The river")}));
}

TEST(ChatPrompt, DropsTheOldestRoundsThatDoNotFit) {
  const std::vector<Message> messages = {{"user", "one"}, {"assistant", "two"}, {"user", "three"}};
  const Ids newest = joined({{195}, plain("three"), {196}});
  ChatPromptOptions options{.max_new_tokens = 100, .context = 100 + static_cast<int64_t>(newest.size())};
  EXPECT_EQ(build_chat_prompt(small_tokenizer(), messages, options), newest);
  options.context -= 1;  // even the newest is too long now: its first id goes
  EXPECT_EQ(build_chat_prompt(small_tokenizer(), messages, options), Ids(newest.begin() + 1, newest.end()));
}

TEST(ChatPrompt, KeepsTheNewestRoundWhereNoRoomIsLeft) {
  const std::vector<Message> messages = {{"user", "one"}, {"assistant", "two"}, {"user", "three"}};
  for (const int64_t max_new_tokens : {4096, 5000})
    EXPECT_EQ(build_chat_prompt(small_tokenizer(), messages, {.max_new_tokens = max_new_tokens}),
              joined({{195}, plain("three"), {196}}));
}

TEST(ChatPrompt, NamesWhatIsWrongWithTheMessages) {
  const auto refuse = [](std::vector<Message> messages) {
    return message_of<DataError>([&] { (void)build_chat_prompt(small_tokenizer(), messages); });
  };
  EXPECT_CONTAINS(refuse({}), "expected at least one message; found an empty list");
  EXPECT_CONTAINS(refuse({{"user", "a"}, {"system", "b"}}), "found one as message 1");
  EXPECT_CONTAINS(refuse({{"tool", "a"}}), "message 0: expected the role system, user or assistant; found 'tool'");
}

TEST(TemplatePrompt, IsWhatTrainingSawBeforeTheAnswer) {
  const std::vector<Message> messages = {{"user", "a"}, {"assistant", "b"}, {"user", "c"}};
  const std::string system =
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
      "detailed, and polite answers to the user's questions.";
  EXPECT_EQ(build_template_prompt(small_tokenizer(), "default", messages), joined({plain(system),
                                                                                   plain("\n"),
                                                                                   plain("Human: a\nAssistant: "),
                                                                                   plain("b"),
                                                                                   {2},
                                                                                   plain("\n"),
                                                                                   plain("Human: c\nAssistant: ")}));
  EXPECT_EQ(build_template_prompt(small_tokenizer(), "vanilla", messages), plain("c"));
  EXPECT_EQ(build_template_prompt(small_tokenizer(), "baichuan", messages),
            build_chat_prompt(small_tokenizer(), messages));
}

TEST(TemplatePrompt, TakesASystemTextAndContinuesAnAnswer) {
  const std::vector<Message> messages = {{"system", "S"}, {"user", "a"}, {"assistant", "b"}};
  EXPECT_EQ(build_template_prompt(small_tokenizer(), "default", messages),
            joined({plain("S"), plain("\n"), plain("Human: a\nAssistant: "), plain("b")}));
}

TEST(TemplatePrompt, NamesWhatIsWrong) {
  const auto refuse = [](std::vector<Message> messages) {
    return message_of<DataError>([&] { (void)build_template_prompt(small_tokenizer(), "default", messages); });
  };
  EXPECT_CONTAINS(refuse({{"user", "a"}, {"user", "b"}}), "expected user and assistant to take turns; found 'user'");
  EXPECT_CONTAINS(refuse({{"system", "a"}}), "found a system message alone");
  const std::vector<Message> messages = {{"user", "a"}};
  EXPECT_CONTAINS(message_of<UsageError>([&] { (void)build_template_prompt(small_tokenizer(), "alpaca", messages); }),
                  "--template must be one of default, baichuan, vanilla; found 'alpaca'");
}

}  // namespace
}  // namespace baichuan
