// Options of `baichuan chat`.
#pragma once

#include <optional>
#include <string>

#include "app/command.h"
#include "app/model_options.h"
#include "app/quantization_options.h"
#include "infer/generation_options.h"

namespace baichuan {

struct ConversationOptions {
  std::optional<std::string> message;
  std::optional<std::string> system;
  std::string template_name = "baichuan";

  static void describe(auto&& field) {
    using O = ConversationOptions;
    field(&O::message,
          {.name = "message", .help = "Answers this one message on standard output and ends; unset: a conversation."});
    field(&O::system, {.name = "system", .help = "System text that goes before the conversation."});
    field(&O::template_name,
          {.name = "template",
           .help = "Form of the prompt: baichuan is that of the published chat models, the others what training with "
                   "the template of that name saw.",
           .aliases = "prompt_template",
           .choices = "baichuan|default|vanilla"});
  }
};

struct ChatCommandOptions : CommandOptions {
  ModelOptions model;
  ConversationOptions conversation;
  GenerationOptions generation;
  QuantizationOptions quantization;
  RunOptions run;

  void add_to(OptionTable& table) override;
  void validate(const OptionTable& table) override;
};

int run_chat(const ChatCommandOptions& options, const OptionTable& table);

}  // namespace baichuan
