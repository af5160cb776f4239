// `baichuan chat`: one reply to --message, or a plain conversation in the terminal or over a pipe. Replies go to
// standard output and nothing else does.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "app/assemble_model.h"
#include "app/chat_options.h"
#include "app/engine/chat_text.h"
#include "app/engine/interrupt.h"
#include "app/engine/terminal.h"
#include "core/error.h"
#include "core/log.h"
#include "data/chat_template.h"
#include "data/tokenizer.h"
#include "data/utf8.h"
#include "infer/conversation.h"
#include "infer/generation_config.h"
#include "infer/generator.h"
#include "infer/text_stream.h"

namespace baichuan {

namespace {

// What every reply of this run shares.
struct ReplySetup {
  GenerateOptions generate;
  PromptStyle style;
};

ReplySetup make_setup(const ChatCommandOptions& options, const GenerationConfig& config, const BaichuanConfig& model) {
  ReplySetup setup;
  GenerateOptions& generate = setup.generate;
  generate.sampling = resolve_sampling(options.generation, config);
  generate.seed = static_cast<std::uint64_t>(options.run.seed);
  generate.interrupted = &interrupt_signal();
  generate.stop_ids = config.eos_token_ids;
  if (generate.stop_ids.empty()) generate.stop_ids.push_back(static_cast<std::int32_t>(model.eos_token_id));
  // A model that begins the user's next turn by itself has ended its own.
  if (options.conversation.template_name == "baichuan") generate.stop_ids.push_back(config.user_token_id);

  const auto& wanted = options.generation.max_new_tokens;
  const std::int64_t configured = config.max_new_tokens.value_or(ChatPromptOptions().max_new_tokens);
  generate.max_new_tokens = wanted ? *wanted : default_reply_tokens(configured, model.max_positions);

  setup.style.template_name = options.conversation.template_name;
  setup.style.context = model.max_positions;
  // ALiBi may go beyond the window; the prompt then takes half of it.
  const bool beyond = generate.max_new_tokens >= model.max_positions && model.position == PositionEmbedding::kAlibi;
  setup.style.max_new_tokens = beyond ? model.max_positions / 2 : generate.max_new_tokens;
  setup.style.user_token_id = config.user_token_id;
  setup.style.assistant_token_id = config.assistant_token_id;

  const auto& flags = options.generation;
  if (!generate.sampling.do_sample && (flags.temperature || flags.top_k || flags.top_p))
    log::warning("temperature, top_k and top_p change nothing while do_sample is false; give --do_sample true");
  return setup;
}

void log_statistics(const GenerationResult& result) {
  const auto rate = [](double tokens, double seconds) { return seconds > 0 ? tokens / seconds : 0.0; };
  const auto decoded = static_cast<double>(result.ids.size()) - 1;
  log::info("prompt: {} tokens, {:.1f} tokens/s; reply: {} tokens, {:.1f} tokens/s; ended by {}", result.prompt_tokens,
            rate(static_cast<double>(result.prompt_tokens), result.prefill_seconds), result.ids.size(),
            decoded > 0 ? rate(decoded, result.decode_seconds) : 0.0, to_string(result.finish));
}

class Chat {
 public:
  Chat(AssembledModel& assembled, const Tokenizer& tokenizer, const ReplySetup& setup, const std::string& system)
      : model_(*assembled.model),
        tokenizer_(tokenizer),
        setup_(setup),
        conversation_(tokenizer, setup.style, system),
        terminal_(output_is_terminal()) {}

  // Answers one message on standard output, as it comes or at the end, and remembers both.
  GenerationResult answer(const std::string& message, bool streaming);

  void clear() {
    conversation_.clear();
    reported_dropped_ = 0;
  }
  // Rounds that have newly fallen out of the window, said once each time it happens.
  std::int64_t newly_dropped() {
    const std::int64_t before = reported_dropped_;
    reported_dropped_ = last_prompt_.dropped_rounds;
    return reported_dropped_ > before ? reported_dropped_ : 0;
  }
  bool message_was_cut() const { return last_prompt_.cut; }

 private:
  void show(const std::string& text) { write_output(terminal_ ? without_control_characters(text) : text); }

  BaichuanForCausalLM& model_;
  const Tokenizer& tokenizer_;
  ReplySetup setup_;
  Conversation conversation_;
  bool terminal_;
  Prompt last_prompt_;
  std::int64_t reported_dropped_ = 0;
};

GenerationResult Chat::answer(const std::string& message, bool streaming) {
  conversation_.add_user(message);
  std::string reply;
  GenerationResult result;
  try {
    last_prompt_ = conversation_.prompt();
    TextStream text(tokenizer_);
    const auto take = [&](const std::string& piece) {
      reply += piece;
      if (streaming) show(piece);
    };
    result = generate(model_, last_prompt_.ids, setup_.generate, [&](std::int32_t id) {
      take(text.append(id));
      return true;
    });
    take(text.finish());
  } catch (const Error&) {
    conversation_.drop_last();
    throw;
  }
  if (!streaming) show(reply);
  write_output("\n");
  ++setup_.generate.stream;
  // What was stopped before its first token did not happen.
  if (result.finish == FinishReason::kInterrupted && result.ids.empty())
    conversation_.drop_last();
  else
    conversation_.add_assistant(reply);
  return result;
}

void require_utf8(const std::string& text, std::string_view flag) {
  if (const auto at = find_invalid_utf8(text); at != std::string::npos)
    throw UsageError("--{} must be valid UTF-8; found another byte at {}; check the terminal's encoding", flag, at + 1);
}

int answer_once(Chat& chat, const std::string& message) {
  const GenerationResult result = chat.answer(message, /*streaming=*/true);
  if (chat.message_was_cut()) log::warning("the message is longer than the window: its beginning was not seen");
  if (result.finish == FinishReason::kLength)
    log::info("the reply was cut after {} tokens (--max_new_tokens)", result.ids.size());
  if (result.finish == FinishReason::kWindow)
    log::info("the reply was cut after {} tokens: the model's window is full", result.ids.size());
  log_statistics(result);
  return result.finish == FinishReason::kInterrupted ? interrupt_exit_status(interrupt_signal()) : 0;
}

const ChatText& text_of_locale() {
  for (const char* name : {"LC_ALL", "LC_MESSAGES", "LANG"})
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0')
      return std::string_view(value).starts_with("zh") ? kChinese : kEnglish;
  return kEnglish;
}

// Reads messages until the input ends. Everything but the replies goes to standard error, and prompts only when a
// person is typing.
class Dialogue {
 public:
  explicit Dialogue(Chat& chat) : chat_(chat) {}

  int run();

 private:
  // Returns the exit status when the dialogue is over.
  std::optional<int> on_signal();
  std::optional<int> on_line(const std::string& line);
  void answer(const std::string& message);
  void say(std::string_view text) const { fmt::print(stderr, "{}\n", text); }
  void header(std::string_view text, std::string_view colour) const;

  Chat& chat_;
  const ChatText& text_ = text_of_locale();
  const bool typing_ = input_is_terminal();
  const bool colours_ = wants_colours();
  bool streaming_ = true;
  std::optional<std::chrono::steady_clock::time_point> last_signal_;
};

void Dialogue::header(std::string_view text, std::string_view colour) const {
  if (!typing_) return;
  if (colours_)
    fmt::print(stderr, "{}{}\x1b[0m", colour, text);
  else
    fmt::print(stderr, "{}", text);
  std::fflush(stderr);
}

int Dialogue::run() {
  if (typing_) say(text_.banner);
  LineReader reader;
  std::string line;
  for (;;) {
    header(text_.user, "\x1b[32m");
    std::optional<int> status;
    switch (reader.read(line)) {
      case LineReader::Status::kEnd:
        if (typing_) say("");
        return 0;
      case LineReader::Status::kSignal:
        status = on_signal();
        break;
      case LineReader::Status::kLine:
        last_signal_.reset();
        status = on_line(line);
        break;
    }
    if (status) return *status;
  }
}

// At the prompt the first Ctrl-C drops the line, a second one within two seconds leaves.
std::optional<int> Dialogue::on_signal() {
  constexpr auto kTwice = std::chrono::seconds(2);
  const int signal = interrupt_signal();
  const auto now = std::chrono::steady_clock::now();
  const bool again = last_signal_ && now - *last_signal_ < kTwice;
  if (typing_) say("");
  if (signal != SIGINT || !typing_ || again) return interrupt_exit_status(signal);
  last_signal_ = now;
  clear_interrupt();
  say(text_.how_to_leave);
  return {};
}

std::optional<int> Dialogue::on_line(const std::string& line) {
  const auto begin = line.find_first_not_of(" \t");
  if (begin == std::string::npos) return {};
  const std::string message = line.substr(begin, line.find_last_not_of(" \t") - begin + 1);
  if (message == "exit") return 0;
  if (message == "clear") {
    chat_.clear();
    if (typing_) say(text_.cleared);
  } else if (message == "stream") {
    streaming_ = !streaming_;
    if (typing_) say(streaming_ ? text_.stream_on : text_.stream_off);
  } else if (find_invalid_utf8(message) != std::string::npos) {
    if (!typing_)
      throw DataError("standard input must be valid UTF-8; found '{}'; convert it", Utf8Stream().append(message));
    say(text_.not_utf8);
  } else {
    answer(message);
  }
  // Without a terminal a signal is meant for the program, not for one reply.
  if (const int signal = interrupt_signal(); signal != 0) {
    if (signal != SIGINT || !typing_) return interrupt_exit_status(signal);
    clear_interrupt();
  }
  return {};
}

void Dialogue::answer(const std::string& message) {
  header(text_.assistant, "\x1b[36m");
  GenerationResult result;
  try {
    result = chat_.answer(message, streaming_);
  } catch (const DataError& error) {
    if (!typing_) throw;
    fmt::print(stderr, "error: {}\n", error.what());
    return;
  }
  if (const std::int64_t dropped = chat_.newly_dropped(); dropped > 0)
    say(fmt::format(fmt::runtime(text_.rounds_dropped), dropped));
  if (chat_.message_was_cut()) say(text_.message_cut);
  if (result.finish == FinishReason::kInterrupted) say(text_.stopped);
  if (result.finish == FinishReason::kLength || result.finish == FinishReason::kWindow)
    say(fmt::format(fmt::runtime(text_.reply_cut), result.ids.size()));
}

}  // namespace

int run_chat(const ChatCommandOptions& options, const OptionTable& table) {
  (void)table;
  const auto& asked = options.conversation;
  if (asked.message) require_utf8(*asked.message, "message");
  if (asked.system) require_utf8(*asked.system, "system");
  log::set_level(log::parse_level(options.run.log_level));

  AssembledModel assembled = assemble_model(options.model);
  const Tokenizer tokenizer(assembled.directory);
  const ReplySetup setup =
      make_setup(options, load_generation_config(assembled.directory, assembled.config), assembled.config);
  Chat chat(assembled, tokenizer, setup, asked.system.value_or(""));
  install_interrupt_handlers();
  return asked.message ? answer_once(chat, *asked.message) : Dialogue(chat).run();
}

}  // namespace baichuan
