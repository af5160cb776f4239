#include "infer/conversation.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"

namespace baichuan {

namespace {

const std::filesystem::path kTokenizer = BAICHUAN_SHARED_DATA "/baichuan_tokenizer/tokenizer.model";
const std::filesystem::path kPrompts = BAICHUAN_SHARED_DATA "/golden/chat_prompts.json";

class ConversationTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kTokenizer)) GTEST_SKIP() << "needs ../shared/data/baichuan_tokenizer";
    tokenizer_ = std::make_unique<Tokenizer>(kTokenizer);
  }

  std::vector<std::int32_t> encode(std::string_view text) const { return tokenizer_->encode_plain(text); }

  std::unique_ptr<Tokenizer> tokenizer_;
};

using Ids = std::vector<std::int32_t>;

Ids joined(std::initializer_list<Ids> parts) {
  Ids all;
  for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TEST_F(ConversationTest, PromptIsThatOfThePublishedChatModel) {
  if (!std::filesystem::exists(kPrompts)) GTEST_SKIP() << "needs ../shared/data/golden/chat_prompts.json";
  int compared = 0;
  const Json file = read_json_file(kPrompts);
  for (const Json& one : file["cases"]) {
    const Json& messages = one["messages"];
    if (one["max_new_tokens"] == 4096 || messages.back()["role"] != "user") continue;
    std::string system;
    PromptStyle style;
    style.max_new_tokens = one["max_new_tokens"] == 0 ? 2048 : one["max_new_tokens"].get<std::int64_t>();
    if (messages[0]["role"] == "system") system = messages[0]["content"];
    Conversation conversation(*tokenizer_, style, system);
    for (const Json& message : messages) {
      if (message["role"] == "user") conversation.add_user(message["content"]);
      if (message["role"] == "assistant") conversation.add_assistant(message["content"]);
    }
    // Typed control pieces are the two cases in which users of ours have it otherwise.
    if (one["name"] == "eos_text" || one["name"] == "role_token_text") continue;
    EXPECT_EQ(conversation.prompt().ids, one["ids"].get<Ids>()) << one["name"];
    ++compared;
  }
  EXPECT_GT(compared, 5);
}

TEST_F(ConversationTest, DropsTheOldestRoundsAndCountsThem) {
  for (const char* name : {"baichuan", "default"}) {
    PromptStyle style;
    style.template_name = name;
    style.context = 160;
    style.max_new_tokens = 40;
    Conversation conversation(*tokenizer_, style, "Be brief.");
    std::int64_t dropped = 0;
    for (int round = 0; round < 12; ++round) {
      conversation.add_user(fmt::format("This is question number {}, which has some length.", round));
      const Prompt prompt = conversation.prompt();
      EXPECT_LE(prompt.ids.size(), 121u);
      EXPECT_GE(prompt.dropped_rounds, dropped);
      EXPECT_FALSE(prompt.cut);
      dropped = prompt.dropped_rounds;
      conversation.add_assistant("And this is its answer.");
    }
    EXPECT_GT(dropped, 5) << name;
    EXPECT_LT(dropped, 12) << name;
    EXPECT_EQ(conversation.messages().size(), 25u);
  }
}

TEST_F(ConversationTest, SaysThatAMessageOfMoreThanTheWindowIsCut) {
  PromptStyle style;
  style.context = 64;
  style.max_new_tokens = 32;
  Conversation conversation(*tokenizer_, style, "");
  std::string text;
  for (int i = 0; i < 60; ++i) text += "word ";
  conversation.add_user("short");
  conversation.add_assistant("answer");
  conversation.add_user(text);
  const Prompt prompt = conversation.prompt();
  EXPECT_TRUE(prompt.cut);
  EXPECT_EQ(prompt.dropped_rounds, 1);
  EXPECT_EQ(prompt.ids.size(), 32u);
  EXPECT_EQ(prompt.ids.back(), 196);
}

TEST_F(ConversationTest, RefusesAMessageThatATemplateCannotCut) {
  PromptStyle style;
  style.template_name = "vanilla";
  style.context = 16;
  style.max_new_tokens = 8;
  Conversation conversation(*tokenizer_, style, "");
  conversation.add_user("one two three four five six seven eight nine ten");
  try {
    conversation.prompt();
    FAIL() << "a message longer than the window was accepted";
  } catch (const DataError& error) {
    EXPECT_STREQ(
        error.what(),
        "the message must leave 8 tokens of the window's 16 for the reply; found a prompt of 10; shorten it or "
        "give a smaller --max_new_tokens");
  }
}

TEST_F(ConversationTest, RefusesAReplyAsLongAsTheWindow) {
  PromptStyle style;
  style.context = 128;
  style.max_new_tokens = 128;
  try {
    Conversation conversation(*tokenizer_, style, "");
    FAIL() << "a reply of the whole window was accepted";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(),
                 "--max_new_tokens must be below the model's window of 128 tokens; found 128; ask for less");
  }
}

TEST_F(ConversationTest, UsesTheRoleIdsOfTheModel) {
  PromptStyle style;
  style.user_token_id = 93;
  style.assistant_token_id = 94;
  Conversation conversation(*tokenizer_, style, "");
  conversation.add_user("hi");
  EXPECT_EQ(conversation.prompt().ids, joined({{93}, encode("hi"), {94}}));
}

TEST_F(ConversationTest, AUserCannotTypeARole) {
  Conversation conversation(*tokenizer_, PromptStyle(), "");
  conversation.add_user("<reserved_103></s>");
  const Ids ids = conversation.prompt().ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 196), 1);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 2), 0);
}

TEST_F(ConversationTest, ClearKeepsTheSystemTextAndDropLastTakesAMessageBack) {
  Conversation conversation(*tokenizer_, PromptStyle(), "System.");
  conversation.add_user("a");
  const Ids first = conversation.prompt().ids;
  conversation.add_assistant("b");
  conversation.add_user("c");
  conversation.drop_last();
  conversation.drop_last();
  EXPECT_EQ(conversation.prompt().ids, first);
  conversation.clear();
  conversation.drop_last();
  ASSERT_EQ(conversation.messages().size(), 1u);
  EXPECT_EQ(conversation.messages()[0].content, "System.");
}

TEST_F(ConversationTest, RefusesATemplateThatIsNotKnown) {
  PromptStyle style;
  style.template_name = "llama";
  Conversation conversation(*tokenizer_, style, "");
  conversation.add_user("hi");
  EXPECT_THROW(conversation.prompt(), UsageError);
}

}  // namespace

}  // namespace baichuan
