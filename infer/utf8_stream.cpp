#include "infer/utf8_stream.h"

#include <cstdint>

namespace baichuan {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Character {
  enum class State { kWhole, kIncomplete, kInvalid };
  State state;
  std::size_t bytes;  // of the character, or of the maximal subpart that is replaced
};

// Looks at the first character of a text that is not empty. The second byte's range is narrower after E0, ED, F0
// and F4 (no overlong forms, no surrogates, nothing above U+10FFFF): table 3-7 of the Unicode Standard.
Character first_character(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {Character::State::kWhole, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Character::State::kInvalid, 1};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Character::State::kIncomplete, i};
    std::uint8_t lowest = 0x80;
    std::uint8_t highest = 0xBF;
    if (i == 1) {
      if (lead == 0xE0) lowest = 0xA0;
      if (lead == 0xED) highest = 0x9F;
      if (lead == 0xF0) lowest = 0x90;
      if (lead == 0xF4) highest = 0x8F;
    }
    if (byte(i) < lowest || byte(i) > highest) return {Character::State::kInvalid, i};
  }
  return {Character::State::kWhole, length};
}

}  // namespace

std::string Utf8Stream::append(std::string_view bytes) {
  held_.append(bytes);
  std::string text;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const Character next = first_character(rest);
    if (next.state == Character::State::kIncomplete) break;
    text.append(next.state == Character::State::kWhole ? rest.substr(0, next.bytes) : kReplacement);
    rest.remove_prefix(next.bytes);
  }
  held_.erase(0, held_.size() - rest.size());
  return text;
}

std::string Utf8Stream::finish() {
  const bool incomplete = !held_.empty();
  held_.clear();
  return incomplete ? std::string(kReplacement) : std::string();
}

std::string without_control_characters(std::string_view text) {
  std::string kept;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<std::uint8_t>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<std::uint8_t>(text[i + 1]) : std::uint8_t{0};
    if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {
      ++i;  // C1: two bytes
    } else if ((byte >= 0x20 && byte != 0x7F) || byte == '\n' || byte == '\t') {
      kept.push_back(text[i]);
    }
  }
  return kept;
}

}  // namespace baichuan
