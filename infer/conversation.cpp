#include "infer/conversation.h"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "core/error.h"

namespace baichuan {

namespace {

// So large that nothing is ever left out, and small enough to add to.
constexpr std::int64_t kNoLimit = std::numeric_limits<std::int32_t>::max();

}  // namespace

Conversation::Conversation(const Tokenizer& tokenizer, PromptStyle style, std::string system)
    : tokenizer_(tokenizer), style_(std::move(style)) {
  if (style_.max_new_tokens >= style_.context)
    throw UsageError("--max_new_tokens must be below the model's window of {} tokens; found {}; ask for less",
                     style_.context, style_.max_new_tokens);
  if (!system.empty()) {
    messages_.push_back({"system", std::move(system)});
    system_messages_ = 1;
  }
}

void Conversation::add_user(std::string text) {
  messages_.push_back({"user", std::move(text)});
}

void Conversation::add_assistant(std::string text) {
  messages_.push_back({"assistant", std::move(text)});
}

void Conversation::drop_last() {
  if (messages_.size() > system_messages_) messages_.pop_back();
}

void Conversation::clear() {
  messages_.resize(system_messages_);
}

std::vector<std::int32_t> Conversation::build(std::span<const Message> messages, std::int64_t context) const {
  if (style_.template_name != "baichuan") return build_template_prompt(tokenizer_, style_.template_name, messages);
  ChatPromptOptions options;
  options.max_new_tokens = style_.max_new_tokens;
  options.context = context;
  options.user_id = style_.user_token_id;
  options.assistant_id = style_.assistant_token_id;
  return build_chat_prompt(tokenizer_, messages, options);
}

std::int64_t Conversation::rounds() const {
  return std::count_if(messages_.begin(), messages_.end(),
                       [](const Message& message) { return message.role == "user"; });
}

std::vector<Message> Conversation::without_rounds(std::int64_t count) const {
  std::vector<Message> kept;
  std::int64_t round = 0;
  for (const Message& message : messages_) {
    if (message.role == "user") ++round;
    if (message.role == "system" || round > count) kept.push_back(message);
  }
  return kept;
}

Prompt Conversation::prompt() const {
  Prompt prompt;
  const std::int64_t longest = style_.context - style_.max_new_tokens;
  const auto fits = [&](const std::vector<std::int32_t>& ids) {
    return static_cast<std::int64_t>(ids.size()) <= longest;
  };
  prompt.ids = build(messages_, kNoLimit);
  if (fits(prompt.ids)) return prompt;

  const std::int64_t last = rounds() - 1;
  if (style_.template_name == "baichuan") {
    // Which rounds stay is the published code's decision; how many went is read off its result.
    prompt.ids = build(messages_, style_.context);
    while (prompt.dropped_rounds < last &&
           build(without_rounds(prompt.dropped_rounds + 1), style_.context) == prompt.ids)
      ++prompt.dropped_rounds;
    prompt.cut = prompt.dropped_rounds >= last &&
                 build(without_rounds(prompt.dropped_rounds), kNoLimit).size() > prompt.ids.size();
    return prompt;
  }
  while (!fits(prompt.ids) && prompt.dropped_rounds < last)
    prompt.ids = build(without_rounds(++prompt.dropped_rounds), kNoLimit);
  if (!fits(prompt.ids))
    throw DataError(
        "the message must leave {} tokens of the window's {} for the reply; found a prompt of {}; shorten it "
        "or give a smaller --max_new_tokens",
        style_.max_new_tokens, style_.context, prompt.ids.size());
  return prompt;
}

}  // namespace baichuan
