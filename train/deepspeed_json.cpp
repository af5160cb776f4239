#include "train/deepspeed_json.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <system_error>

#include "core/error.h"
#include "core/files.h"

namespace baichuan {

namespace {

constexpr int kDeepestNesting = 32;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// What may stand in a key or a word without quotes.
bool is_word_character(char c) {
  return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == '+' || c == '.' || c == '/';
}

void append_utf8(std::string& text, std::uint32_t code) {
  const auto put = [&text](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& origin) : text_(text), origin_(origin) {
    if (text_.starts_with(kByteOrderMark)) at_ = kByteOrderMark.size();
  }

  OrderedJson parse() {
    skip_blanks();
    if (peek() != '{') fail("an object in braces");
    OrderedJson root = object(0);
    skip_blanks();
    if (at_ < text_.size()) fail("nothing after the closing brace");
    return root;
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool at_end() const { return at_ >= text_.size(); }

  [[noreturn]] void fail(const std::string& expected) const {
    const auto end = text_.begin() + static_cast<std::ptrdiff_t>(std::min(at_, text_.size()));
    const auto line = 1 + std::count(text_.begin(), end, '\n');
    std::string found = "the end of the file";
    if (!at_end()) {
      const auto rest = text_.substr(at_, 20);
      found = to_json_line(OrderedJson(std::string(rest.substr(0, rest.find_first_of("\r\n")))));
      if (found == "\"\"") found = "the end of the line";
    }
    throw DataError("{} line {}: expected {}; found {}; see docs/DEEPSPEED.md for what such a file holds", origin_,
                    line, expected, found);
  }

  // Whitespace and comments. Returns whether a line ended among them.
  bool skip_blanks() {
    bool line_ended = false;
    for (; !at_end(); ++at_) {
      const char c = peek();
      if (c == '\n') line_ended = true;
      if (c == ' ' || c == '\t' || c == '\r' || c == '\n') continue;
      const auto rest = text_.substr(at_);
      if (c == '#' || rest.starts_with("//")) {
        at_ = std::min(text_.find('\n', at_), text_.size()) - 1;
      } else if (rest.starts_with("/*")) {
        const auto end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) fail("the end */ of this comment");
        line_ended = line_ended || text_.substr(at_, end - at_).find('\n') != std::string_view::npos;
        at_ = end + 1;
      } else {
        break;
      }
    }
    return line_ended;
  }

  // Goes past what separates two members: a comma or a line's end. Returns false at `close`.
  bool next_member(char close, bool first) {
    const bool line_ended = skip_blanks();
    bool separated = first || line_ended;
    if (!first && peek() == ',') {
      ++at_;
      separated = true;
      skip_blanks();
    }
    if (peek() == close && !at_end()) {
      ++at_;
      return false;
    }
    if (at_end()) fail(fmt::format("'{}'", close));
    if (!separated) fail(fmt::format("',' or '{}'", close));
    return true;
  }

  OrderedJson object(int depth) {
    OrderedJson members = OrderedJson::object();
    ++at_;
    for (bool first = true; next_member('}', first); first = false) {
      const std::size_t start = at_;
      const std::string name = key();
      if (members.contains(name)) {
        at_ = start;
        fail("every key once in its object");
      }
      skip_blanks();
      if (peek() != ':') fail("':' after the key");
      ++at_;
      skip_blanks();
      members[name] = value(depth + 1);
    }
    return members;
  }

  OrderedJson array(int depth) {
    OrderedJson elements = OrderedJson::array();
    ++at_;
    for (bool first = true; next_member(']', first); first = false) elements.push_back(value(depth + 1));
    return elements;
  }

  std::string key() {
    if (peek() == '"' || peek() == '\'') return quoted();
    std::string name = word();
    if (name.empty()) fail("a key");
    return name;
  }

  OrderedJson value(int depth) {
    if (depth > kDeepestNesting) fail(fmt::format("at most {} levels of nesting", kDeepestNesting));
    switch (peek()) {
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case '"':
      case '\'':
        return quoted();
      default:
        return bare();
    }
  }

  std::string word() {
    const std::size_t start = at_;
    while (!at_end() && is_word_character(peek()) && !text_.substr(at_).starts_with("//") &&
           !text_.substr(at_).starts_with("/*"))
      ++at_;
    return std::string(text_.substr(start, at_ - start));
  }

  // true, false, null, a number, or a word that stands for itself.
  OrderedJson bare() {
    const std::size_t start = at_;
    const std::string found = word();
    if (found.empty()) fail("a value");
    if (found == "true") return true;
    if (found == "false") return false;
    if (found == "null") return nullptr;
    const char* const last = found.data() + found.size();
    std::int64_t integer = 0;  // kept apart from 5e8, so that messages show what the file holds
    if (const auto [end, error] = std::from_chars(found.data(), last, integer); end == last && error == std::errc())
      return integer;
    double number = 0;
    const auto [end, error] = std::from_chars(found.data(), last, number);
    const bool numeric = is_digit(found[0]) || (found.size() > 1 && found[0] == '-' && is_digit(found[1]));
    if (!numeric || end != last) return found;
    if (error == std::errc::result_out_of_range) {
      at_ = start;
      fail("a number that float64 can hold");
    }
    return number;
  }

  std::string quoted() {
    const char quote = peek();
    std::string text;
    for (++at_; peek() != quote || at_end(); ++at_) {
      if (at_end() || peek() == '\n') fail(fmt::format("{} at the end of this text", quote));
      if (peek() == '\\')
        text += escaped();
      else
        text.push_back(peek());
    }
    ++at_;
    return text;
  }

  // After a backslash; leaves at_ on the last character that belongs to it.
  std::string escaped() {
    ++at_;
    constexpr std::string_view kNames = "\"'\\/bfnrt";
    constexpr std::string_view kMeanings = "\"'\\/\b\f\n\r\t";
    const auto which = at_end() ? std::string_view::npos : kNames.find(peek());
    if (which != std::string_view::npos) return std::string(1, kMeanings[which]);
    if (peek() != 'u') fail("one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u");
    std::uint32_t code = 0;
    const auto digits = text_.substr(at_ + 1, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() < 4 || error != std::errc() || end != digits.data() + 4)
      fail("four hexadecimal digits after \\u");
    at_ += 4;
    std::string text;
    append_utf8(text, code);
    return text;
  }

  std::string_view text_;
  const std::string& origin_;
  std::size_t at_ = 0;
};

std::optional<std::string> decode_base64(std::string_view encoded) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  while (encoded.ends_with('=')) encoded.remove_suffix(1);
  std::string text;
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : encoded) {
    const auto value = kAlphabet.find(c);
    if (value == std::string_view::npos) return {};
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    text.push_back(static_cast<char>(bits >> held & 0xFF));
  }
  return text;
}

}  // namespace

OrderedJson parse_deepspeed_json(std::string_view text, const std::string& origin) {
  return Parser(text, origin).parse();
}

DeepSpeedText read_deepspeed_argument(const std::string& argument) {
  std::error_code ignored;  // a name too long for a path is no file
  if (std::filesystem::exists(argument, ignored)) return {read_file(argument), argument};
  if (const auto decoded = decode_base64(argument); decoded && decoded->find('{') != std::string::npos)
    return {*decoded, "--deepspeed (base64)"};
  throw DataError(
      "--deepspeed must name DeepSpeed's JSON file; '{}' does not exist; give its path, or one of configs/deepspeed/",
      argument);
}

}  // namespace baichuan
