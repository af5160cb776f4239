// How messages become the ids that a model continues.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"
#include "data/training_template.h"

namespace baichuan {

struct Message {
  std::string role;  // system, user or assistant
  std::string content;
};

struct ChatPromptOptions {
  int64_t max_new_tokens = 2048;  // room kept for the reply
  int64_t context = 4096;         // tokens of the model
  int32_t user_id = 195;
  int32_t assistant_id = 196;
};

// Room for the reply where the user asks for none: what the model's files say, at most half of its window.
int64_t default_reply_tokens(int64_t max_new_tokens, int64_t context);

// The prompt of Baichuan-13B-Chat, final revision of its code: the system text first and without a role id, then as
// many whole rounds (a user message and what follows it), newest last, as fit in context - max_new_tokens; at most
// that many ids, cut from the left. The newest round is always taken, and where no room is left at all it is kept
// whole. The assistant's id ends the prompt unless the last message is the assistant's, which is then continued.
// Throws DataError for no messages, a system message that is not the first, an unknown role.
std::vector<int32_t> build_chat_prompt(const Tokenizer& tokenizer,
                                       std::span<const Message> messages,
                                       const ChatPromptOptions& options = {});

// What training with a template saw up to the answer: for inference with a model tuned on it. Users and assistants
// take turns; a last message of the assistant's is continued. Throws UsageError for an unknown template and DataError
// for messages that cannot be told so.
std::vector<int32_t> build_template_prompt(const Tokenizer& tokenizer,
                                           std::string_view template_name,
                                           std::span<const Message> messages,
                                           TemplateCompat compat = TemplateCompat::kAugust2023);

}  // namespace baichuan
