#include "data/flat_object.h"

#include <algorithm>

#include "data/utf8.h"

namespace baichuan {

namespace {

void append_utf8(uint32_t code, std::string& text) {
  if (code < 0x80) {
    text += static_cast<char>(code);
    return;
  }
  if (code < 0x800) {
    text += static_cast<char>(0xc0 | (code >> 6));
  } else {
    if (code < 0x10000) {
      text += static_cast<char>(0xe0 | (code >> 12));
    } else {
      text += static_cast<char>(0xf0 | (code >> 18));
      text += static_cast<char>(0x80 | ((code >> 12) & 0x3f));
    }
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
  }
  text += static_cast<char>(0x80 | (code & 0x3f));
}

}  // namespace

bool FlatObject::parse(std::string_view text) {
  rest_ = text;
  fields_.clear();
  skip_blanks();
  if (!skip('{') || !parse_fields()) return false;
  skip_blanks();
  return rest_.empty();
}

FlatObject::Field* FlatObject::find(std::string_view name) {
  const auto found =
      std::find_if(fields_.rbegin(), fields_.rend(), [&](const Field& field) { return field.name == name; });
  return found == fields_.rend() ? nullptr : &*found;
}

bool FlatObject::parse_fields() {
  skip_blanks();
  if (skip('}')) return true;
  while (true) {
    Field& field = fields_.emplace_back();
    skip_blanks();
    if (!parse_name(field.name)) return false;
    skip_blanks();
    if (!skip(':')) return false;
    skip_blanks();
    field.is_null = rest_.starts_with("null");
    if (field.is_null)
      rest_.remove_prefix(4);
    else if (!parse_text(field.text))
      return false;
    skip_blanks();
    if (skip('}')) return true;
    if (!skip(',')) return false;
  }
}

bool FlatObject::parse_name(std::string_view& name) {
  if (!skip('"')) return false;
  const auto plain = [](char c) { return c != '"' && c != '\\' && c >= 0x20 && c < 0x7f; };
  const auto end = std::find_if_not(rest_.begin(), rest_.end(), plain);
  name = rest_.substr(0, static_cast<std::size_t>(end - rest_.begin()));
  rest_.remove_prefix(name.size());
  return skip('"');
}

bool FlatObject::parse_text(std::string& text) {
  if (!skip('"')) return false;
  while (!rest_.empty()) {
    std::size_t run = 0;
    while (run < rest_.size()) {
      const auto byte = static_cast<unsigned char>(rest_[run]);
      if (byte == '"' || byte == '\\' || byte < 0x20) break;
      const std::size_t length = byte < 0x80 ? 1 : utf8_character_length(rest_.substr(run));
      if (length == 0) return false;
      run += length;
    }
    text.append(rest_.substr(0, run));
    rest_.remove_prefix(run);
    if (skip('"')) return true;
    if (!skip('\\') || !parse_escape(text)) return false;
  }
  return false;
}

bool FlatObject::parse_escape(std::string& text) {
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kBytes = "\"\\/\b\f\n\r\t";
  if (rest_.empty()) return false;
  const char name = rest_.front();
  rest_.remove_prefix(1);
  if (name != 'u') {
    const auto at = kNames.find(name);
    if (at == std::string_view::npos) return false;
    text += kBytes[at];
    return true;
  }
  uint32_t code = 0;
  if (!parse_code_unit(code) || (code >= 0xdc00 && code < 0xe000)) return false;
  if (code >= 0xd800 && code < 0xdc00) {
    uint32_t low = 0;
    if (!skip('\\') || !skip('u') || !parse_code_unit(low) || low < 0xdc00 || low >= 0xe000) return false;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  append_utf8(code, text);
  return true;
}

bool FlatObject::parse_code_unit(uint32_t& unit) {
  if (rest_.size() < 4) return false;
  unit = 0;
  for (const char digit : rest_.substr(0, 4)) {
    unit <<= 4;
    if (digit >= '0' && digit <= '9')
      unit |= static_cast<uint32_t>(digit - '0');
    else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f')
      unit |= static_cast<uint32_t>((digit | 0x20) - 'a' + 10);
    else
      return false;
  }
  rest_.remove_prefix(4);
  return true;
}

bool FlatObject::skip(char wanted) {
  if (!rest_.starts_with(wanted)) return false;
  rest_.remove_prefix(1);
  return true;
}

void FlatObject::skip_blanks() {
  while (!rest_.empty() &&
         (rest_.front() == ' ' || rest_.front() == '\n' || rest_.front() == '\r' || rest_.front() == '\t'))
    rest_.remove_prefix(1);
}

}  // namespace baichuan
