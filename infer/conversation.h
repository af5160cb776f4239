// The turns of a chat and the prompt that a model continues.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/tokenizer.h"

namespace baichuan {

struct PromptStyle {
  // "baichuan": the chat prompt of the published chat models (final revision). "default" and "vanilla": what training
  // with the template of that name saw.
  std::string template_name = "baichuan";
  std::int64_t context = 4096;         // tokens that prompt and reply share
  std::int64_t max_new_tokens = 2048;  // of which are kept free for the reply
  std::int32_t user_token_id = 195;
  std::int32_t assistant_token_id = 196;
};

struct Prompt {
  std::vector<std::int32_t> ids;
  std::int64_t dropped_rounds = 0;  // oldest rounds that the window has no room for
  bool cut = false;                 // the newest message alone is too long: the model does not see its beginning
};

class Conversation {
 public:
  // `system` may be empty. `tokenizer` outlives the conversation. Throws UsageError for an unknown template and for a
  // max_new_tokens that leaves no room for a prompt.
  Conversation(const Tokenizer& tokenizer, PromptStyle style, std::string system);

  void add_user(std::string text);
  void add_assistant(std::string text);
  // Takes the newest message back.
  void drop_last();
  void clear();  // all but the system text

  const std::vector<Message>& messages() const { return messages_; }

  // The ids for the model to continue. History that does not fit is left out by whole rounds (a user's message with
  // what follows it), the oldest first, the system text staying; the messages themselves are kept. A newest message
  // that is too long by itself loses its beginning ("baichuan", as the published code does) or throws DataError.
  Prompt prompt() const;

 private:
  std::vector<std::int32_t> build(std::span<const Message> messages, std::int64_t context) const;
  std::vector<Message> without_rounds(std::int64_t count) const;
  std::int64_t rounds() const;

  const Tokenizer& tokenizer_;
  PromptStyle style_;
  std::vector<Message> messages_;
  std::size_t system_messages_ = 0;
};

}  // namespace baichuan
