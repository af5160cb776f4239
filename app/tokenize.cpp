// `baichuan tokenize`: text to ids and back, as JSON lines on stdout.
#include <charconv>
#include <fstream>
#include <iostream>

#include "app/open_tokenizer.h"
#include "app/tokenize_options.h"
#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/log.h"
#include "data/chat_template.h"
#include "data/utf8.h"

namespace baichuan {

namespace {

void write_line(const OrderedJson& row) {
  std::cout << to_json_line(row) << '\n';
  if (!std::cout) throw MachineError("cannot write to standard output; is the disk full?");
}

void write_ids(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  OrderedJson pieces = OrderedJson::array();
  for (const int32_t id : ids) pieces.push_back(tokenizer.piece(id));
  write_line({{"ids", ids}, {"pieces", std::move(pieces)}});
}

std::vector<int32_t> parse_ids(const std::string& text, int32_t vocab_size) {
  std::vector<int32_t> ids;
  constexpr std::string_view kSeparators = " ,\t\r\n[]";
  std::size_t at = 0;
  while ((at = text.find_first_not_of(kSeparators, at)) != std::string::npos) {
    const std::size_t end = std::min(text.find_first_of(kSeparators, at), text.size());
    int32_t id = -1;
    const auto [stop, failure] = std::from_chars(text.data() + at, text.data() + end, id);
    if (failure != std::errc() || stop != text.data() + end || id < 0 || id >= vocab_size)
      throw UsageError("--decode must be ids from 0 to {}; found '{}'", vocab_size - 1, text.substr(at, end - at));
    ids.push_back(id);
    at = end;
  }
  return ids;
}

void require_utf8(std::string_view text, const std::string& where) {
  const auto at = find_invalid_utf8(text);
  if (at != std::string_view::npos)
    throw DataError("{}: expected UTF-8; found 0x{:02X} as byte {}; convert the text", where,
                    static_cast<unsigned char>(text[at]), at);
}

// What a model directory says about prompts; files that are not there leave the published defaults.
ChatPromptOptions prompt_options(const Tokenizer& tokenizer, const TokenizeOptions& options) {
  ChatPromptOptions prompt;
  const fs::path directory = tokenizer.path().parent_path();
  const auto take = [&](const char* file, const char* key, auto& value) {
    if (!fs::exists(directory / file)) return;
    const Json json = read_json_file(directory / file);
    if (json.is_object() && json.contains(key) && json.at(key).is_number_integer()) json.at(key).get_to(value);
  };
  take("generation_config.json", "max_new_tokens", prompt.max_new_tokens);
  take("generation_config.json", "user_token_id", prompt.user_id);
  take("generation_config.json", "assistant_token_id", prompt.assistant_id);
  take("config.json", "max_position_embeddings", prompt.context);
  take("config.json", "model_max_length", prompt.context);
  prompt.max_new_tokens = options.max_new_tokens.value_or(default_reply_tokens(prompt.max_new_tokens, prompt.context));
  return prompt;
}

std::vector<Message> parse_messages(const std::string& line, const std::string& where) {
  const Json row = parse_json(line, where);
  const auto wrong = [&](const std::string& what) {
    return DataError("{}: expected {{\"messages\": [{{\"role\": ..., \"content\": ...}}, ...]}}; found {}", where,
                     what);
  };
  if (!row.is_object() || !row.contains("messages") || !row.at("messages").is_array())
    throw wrong("no list 'messages'");
  std::vector<Message> messages;
  for (const Json& message : row.at("messages")) {
    const auto text = [&](const char* key) {
      if (!message.is_object() || !message.contains(key) || !message.at(key).is_string())
        throw wrong(fmt::format("no text '{}' in message {}", key, messages.size()));
      return message.at(key).get<std::string>();
    };
    messages.push_back({text("role"), text("content")});
  }
  return messages;
}

// Encodes one row of input: text, or with a template the messages of a chat.
class RowEncoder {
 public:
  RowEncoder(const Tokenizer& tokenizer, const TokenizeOptions& options)
      : tokenizer_(tokenizer), options_(options), prompt_(prompt_options(tokenizer, options)) {}

  std::vector<int32_t> encode_text(const std::string& text, const std::string& where) const {
    require_utf8(text, where);
    if (!options_.template_name) return tokenizer_.encode(text);
    return encode_messages({{"user", text}});
  }

  std::vector<int32_t> encode_line(const std::string& line, const std::string& where) const {
    if (!options_.template_name) return encode_text(line, where);
    require_utf8(line, where);
    const auto messages = parse_messages(line, where);
    try {
      return encode_messages(messages);
    } catch (const DataError& error) {
      throw DataError("{}: {}", where, error.what());
    }
  }

 private:
  std::vector<int32_t> encode_messages(const std::vector<Message>& messages) const {
    if (*options_.template_name == "baichuan") return build_chat_prompt(tokenizer_, messages, prompt_);
    return build_template_prompt(tokenizer_, *options_.template_name, messages);
  }

  const Tokenizer& tokenizer_;
  const TokenizeOptions& options_;
  ChatPromptOptions prompt_;
};

void tokenize_file(const Tokenizer& tokenizer, const RowEncoder& encoder, const std::string& name) {
  const bool from_stdin = name == "-";
  std::ifstream file;
  if (!from_stdin) {
    file.open(name, std::ios::binary);
    std::error_code ignored;
    if (!file || fs::is_directory(name, ignored))
      throw DataError("--file must be a readable file; found none at {}; check the path", name);
  }
  std::istream& input = from_stdin ? std::cin : file;
  std::string line;
  for (int64_t number = 1; std::getline(input, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    write_ids(tokenizer,
              encoder.encode_line(line, fmt::format("{} line {}", from_stdin ? "standard input" : name, number)));
  }
}

}  // namespace

int run_tokenize(const TokenizeCommandOptions& options, const OptionTable& table) {
  (void)table;
  log::set_level(log::parse_level(options.run.log_level));
  const Tokenizer tokenizer = open_tokenizer(options.model, "tokenize");
  const TokenizeOptions& wanted = options.tokenize;
  std::ios::sync_with_stdio(false);
  if (wanted.decode) {
    write_line({{"text", tokenizer.decode(parse_ids(*wanted.decode, tokenizer.vocab_size()))}});
  } else {
    const RowEncoder encoder(tokenizer, wanted);
    if (wanted.text)
      write_ids(tokenizer, encoder.encode_text(*wanted.text, "--text"));
    else
      tokenize_file(tokenizer, encoder, *wanted.file);
  }
  std::cout.flush();
  if (!std::cout) throw MachineError("cannot write to standard output; is the disk full?");
  return 0;
}

}  // namespace baichuan
