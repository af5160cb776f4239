#include "data/chat_template.h"

#include <algorithm>

#include "core/error.h"

namespace baichuan {

namespace {

// Refuses what the official code answers with an assertion, or silently takes for something else.
void require_valid_messages(std::span<const Message> messages) {
  if (messages.empty()) throw DataError("expected at least one message; found an empty list; add a user message");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role == "system" && i > 0)
      throw DataError("expected a system message only as the first; found one as message {}; move it to the front", i);
    if (role != "system" && role != "user" && role != "assistant")
      throw DataError("message {}: expected the role system, user or assistant; found '{}'; rename it", i, role);
  }
}

using Round = std::vector<int32_t>;

// A round begins at each user message.
std::vector<Round> encode_rounds(const Tokenizer& tokenizer,
                                 std::span<const Message> messages,
                                 const ChatPromptOptions& options) {
  std::vector<Round> rounds;
  for (const Message& message : messages) {
    const bool from_user = message.role == "user";
    if (from_user || rounds.empty()) rounds.emplace_back();
    Round& round = rounds.back();
    round.push_back(from_user ? options.user_id : options.assistant_id);
    const auto ids = tokenizer.encode_plain(message.content);
    round.insert(round.end(), ids.begin(), ids.end());
  }
  return rounds;
}

struct Conversation {
  std::string_view system;
  std::vector<Turn> turns;  // the last one has no response yet, or one to be continued
  bool continues = false;
};

Conversation as_turns(std::span<const Message> messages) {
  require_valid_messages(messages);
  Conversation conversation;
  if (messages.front().role == "system") {
    conversation.system = messages.front().content;
    messages = messages.subspan(1);
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string_view expected = i % 2 == 0 ? "user" : "assistant";
    if (messages[i].role != expected)
      throw DataError(
          "expected user and assistant to take turns; found '{}' as message {} after the system text; join "
          "the messages that follow one another",
          messages[i].role, i);
    if (i % 2 == 0)
      conversation.turns.push_back({messages[i].content, {}});
    else
      conversation.turns.back().response = messages[i].content;
  }
  if (conversation.turns.empty())
    throw DataError("expected a user message; found a system message alone; add what the user says");
  conversation.continues = messages.size() % 2 == 0;
  return conversation;
}

}  // namespace

int64_t default_reply_tokens(int64_t max_new_tokens, int64_t context) {
  return std::min(max_new_tokens, std::max<int64_t>(context / 2, 1));
}

std::vector<int32_t> build_chat_prompt(const Tokenizer& tokenizer,
                                       std::span<const Message> messages,
                                       const ChatPromptOptions& options) {
  require_valid_messages(messages);
  const bool ends_with_assistant = messages.back().role == "assistant";
  std::vector<int32_t> prompt;
  if (messages.front().role == "system") {
    prompt = tokenizer.encode_plain(messages.front().content);
    messages = messages.subspan(1);
  }
  const int64_t max_input = std::max<int64_t>(0, options.context - options.max_new_tokens);
  const int64_t max_history = max_input - static_cast<int64_t>(prompt.size());
  const auto rounds = encode_rounds(tokenizer, messages, options);
  int64_t history = 0;
  std::size_t first = rounds.size();
  while (first > 0) {
    const auto length = static_cast<int64_t>(rounds[first - 1].size());
    if (history > 0 && history + length > max_history) break;
    history += length;
    --first;
    if (history >= max_history) break;
  }
  for (; first < rounds.size(); ++first) prompt.insert(prompt.end(), rounds[first].begin(), rounds[first].end());
  if (!ends_with_assistant) prompt.push_back(options.assistant_id);
  const auto excess = static_cast<int64_t>(prompt.size()) - max_input;
  if (max_input > 0 && excess > 0) prompt.erase(prompt.begin(), prompt.begin() + excess);
  return prompt;
}

std::vector<int32_t> build_template_prompt(const Tokenizer& tokenizer,
                                           std::string_view template_name,
                                           std::span<const Message> messages,
                                           TemplateCompat compat) {
  const TrainingTemplate form(template_name, compat, tokenizer);
  const Conversation conversation = as_turns(messages);
  PlainEncoder encoder(tokenizer);
  const auto turns = form.encode(encoder, conversation.system, conversation.turns);
  std::vector<int32_t> prompt;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const bool last = i + 1 == turns.size();
    prompt.insert(prompt.end(), turns[i].source.begin(), turns[i].source.end());
    if (last && !conversation.continues) break;
    prompt.insert(prompt.end(), turns[i].target.begin(), turns[i].target.end());
    if (!last && !form.efficient_eos()) prompt.push_back(tokenizer.eos_id());
  }
  return prompt;
}

}  // namespace baichuan
