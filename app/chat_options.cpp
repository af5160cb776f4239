#include "app/chat_options.h"

#include "core/error.h"

namespace baichuan {

void ChatCommandOptions::add_to(OptionTable& table) {
  table.add("Model", model);
  table.add("Conversation", conversation);
  table.add("Generation", generation);
  table.add("Quantization", quantization);
  table.add("Run", run);
}

void ChatCommandOptions::validate(const OptionTable& table) {
  (void)table;
  if (model.model_name_or_path.empty())
    throw UsageError("chat needs --model_name_or_path; found none; give a model directory or a hub id");
  if (conversation.message && conversation.message->empty())
    throw UsageError("--message must not be empty; leave the flag away for a conversation in the terminal");
  generation.validate();
}

}  // namespace baichuan
