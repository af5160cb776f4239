// Options of `baichuan tokenize`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/command.h"
#include "app/model_options.h"

namespace baichuan {

struct TokenizeOptions {
  std::optional<std::string> text;
  std::optional<std::string> file;
  std::optional<std::string> decode;
  std::optional<std::string> template_name;
  std::optional<int64_t> max_new_tokens;

  static void describe(auto&& field) {
    using O = TokenizeOptions;
    field(&O::text, {.name = "text", .help = "Text to encode, newlines included."});
    field(&O::file, {.name = "file", .help = "Text to encode, one row a line; - is standard input."});
    field(&O::decode, {.name = "decode", .help = "Ids to decode, separated by blanks or commas."});
    field(&O::template_name,
          {.name = "template",
           .help = "Give the prompt of a chat instead: --text is what the user says, --file has JSON lines "
                   "{\"messages\": [...]}.",
           .aliases = "prompt_template",
           .choices = "default|baichuan|vanilla"});
    field(&O::max_new_tokens,
          {.name = "max_new_tokens",
           .help = "Room for the reply in the prompt of template baichuan; generation_config.json's, else 2048.",
           .unit = "tokens",
           .range = {.min = 0, .max = 1 << 30}});
  }
};

struct TokenizeCommandOptions : CommandOptions {
  ModelOptions model;
  TokenizeOptions tokenize;
  RunOptions run;

  void add_to(OptionTable& table) override;
  void validate(const OptionTable& table) override;
};

int run_tokenize(const TokenizeCommandOptions& options, const OptionTable& table);

}  // namespace baichuan
