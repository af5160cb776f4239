#include "data/text_normalizer.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace baichuan {

namespace {

constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

// A unit of the trie (the layout of the Darts-clone library): bits 0-7 label, bit 8 "a key ends here", bits 9-30
// offset to the children; in a unit that holds a value, bit 31 is set and bits 0-30 are the value.
constexpr uint32_t label_of(uint32_t unit) {
  return unit & 0x800000ffU;
}
constexpr bool ends_key(uint32_t unit) {
  return ((unit >> 8) & 1U) != 0;
}
constexpr uint32_t offset_of(uint32_t unit) {
  return (unit >> 10) << ((unit & (1U << 9)) >> 6);
}
constexpr uint32_t value_of(uint32_t unit) {
  return unit & 0x7fffffffU;
}

bool is_trail(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

}  // namespace

std::size_t utf8_character_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
  if (length == 0 || first > 0xf4 || text.size() < length) return 0;
  uint32_t code = first & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if (!is_trail(text[i])) return 0;
    code = (code << 6) | (static_cast<unsigned char>(text[i]) & 0x3fU);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  return code < kSmallest[length] || code > 0x10ffff || surrogate ? 0 : length;
}

std::size_t find_invalid_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t length = utf8_character_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

SymbolMatcher::SymbolMatcher(std::vector<Symbol> symbols) : symbols_(std::move(symbols)) {
  std::sort(symbols_.begin(), symbols_.end(), [](const Symbol& a, const Symbol& b) {
    const auto first_a = static_cast<unsigned char>(a.text.front());
    const auto first_b = static_cast<unsigned char>(b.text.front());
    return first_a != first_b ? first_a < first_b : a.text.size() > b.text.size();
  });
  for (const auto& symbol : symbols_) ++begin_[static_cast<unsigned char>(symbol.text.front()) + 1];
  for (std::size_t byte = 1; byte < begin_.size(); ++byte) begin_[byte] += begin_[byte - 1];
}

const SymbolMatcher::Symbol* SymbolMatcher::longest(std::string_view text, unsigned char first) const {
  for (uint32_t i = begin_[first]; i < begin_[first + 1]; ++i)
    if (text.starts_with(symbols_[i].text)) return &symbols_[i];
  return nullptr;
}

TextNormalizer::TextNormalizer(const SentencePieceModel& model, const SymbolMatcher& symbols, const std::string& origin)
    : model_(model), symbols_(symbols) {
  if (!model.charsmap.empty()) {
    uint32_t trie_bytes = 0;
    const bool has_size = model.charsmap.size() > sizeof trie_bytes;
    if (has_size) std::memcpy(&trie_bytes, model.charsmap.data(), sizeof trie_bytes);
    const std::string_view rest = has_size ? model.charsmap.substr(sizeof trie_bytes) : std::string_view{};
    if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes >= rest.size() || rest.back() != '\0')
      throw DataError("{}: expected normalisation rules; found {} damaged bytes; copy tokenizer.model again", origin,
                      model.charsmap.size());
    trie_.resize(trie_bytes / 4);
    std::memcpy(trie_.data(), rest.data(), trie_bytes);
    replacements_ = rest.substr(trie_bytes);
  }
  for (unsigned byte = 0x20; byte < 0x7f; ++byte) {
    const auto first = static_cast<unsigned char>(byte);
    plain_ascii_[first] = !symbols_.any_starts_with(first) && !has_ascii_rule(first);
  }
}

bool TextNormalizer::has_ascii_rule(unsigned char first) const {
  if (trie_.empty()) return false;
  const std::size_t at = offset_of(trie_[0]) ^ first;
  if (label_of(unit(at)) != first) return false;
  if (ends_key(unit(at))) return true;
  const std::size_t children = at ^ offset_of(unit(at));
  for (unsigned second = 1; second < 0x80; ++second)
    if (label_of(unit(children ^ second)) == second) return true;
  return false;
}

TextNormalizer::Step TextNormalizer::step(std::string_view text) const {
  if (const auto* const symbol = symbols_.match(text)) return {symbol->text, symbol->text.size()};
  std::size_t longest = 0;
  uint32_t value = 0;
  if (!trie_.empty()) {
    std::size_t at = offset_of(trie_[0]);
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      at ^= byte;
      if (at >= trie_.size() || label_of(trie_[at]) != byte) break;
      const uint32_t node = trie_[at];
      at ^= offset_of(node);
      if (!ends_key(node)) continue;
      longest = i + 1;
      value = value_of(unit(at));
    }
  }
  if (longest > 0 && value < replacements_.size()) return {replacements_.data() + value, longest};
  const std::size_t length = utf8_character_length(text);
  if (length == 0) return {kReplacementCharacter, 1};
  return {text.substr(0, length), length};
}

void TextNormalizer::append_escaped(std::string_view replacement, std::string& out) const {
  for (const char byte : replacement) {
    if (byte == ' ' && model_.escape_whitespaces)
      out += kSpaceSymbol;
    else
      out += byte;
  }
}

// Copies letters that no rule touches; returns how many bytes. The last one before a character outside ASCII is
// left to step(): it may combine with it.
std::size_t TextNormalizer::append_plain_run(std::string_view text, std::string& out) const {
  std::size_t end = 0;
  while (end < text.size() && text[end] != ' ' && plain_ascii_[static_cast<unsigned char>(text[end])]) ++end;
  if (end > 0 && end < text.size() && static_cast<unsigned char>(text[end]) >= 0x80) --end;
  out.append(text.substr(0, end));
  return end;
}

void TextNormalizer::append_normalized(std::string_view text, bool at_start, std::string& out) const {
  const bool squeeze = model_.remove_extra_whitespaces;
  if (squeeze && at_start) {
    while (!text.empty()) {
      const Step head = step(text);
      if (head.replacement != " ") break;
      text.remove_prefix(head.consumed);
    }
    if (text.empty()) return;
  }
  const std::size_t begin = out.size();
  if (at_start && model_.add_dummy_prefix) append_escaped(" ", out);
  bool after_space = squeeze && at_start;
  while (!text.empty()) {
    const std::size_t run = append_plain_run(text, out);
    if (run > 0) {
      text.remove_prefix(run);
      after_space = false;
      continue;
    }
    if (text.front() == ' ' && plain_ascii_[' '] && (text.size() == 1 || static_cast<unsigned char>(text[1]) < 0x80)) {
      if (!after_space) append_escaped(" ", out);
      after_space = squeeze;
      text.remove_prefix(1);
      continue;
    }
    Step next = step(text);
    while (after_space && next.replacement.starts_with(' ')) next.replacement.remove_prefix(1);
    if (!next.replacement.empty()) {
      append_escaped(next.replacement, out);
      after_space = squeeze && next.replacement.ends_with(' ');
    }
    text.remove_prefix(next.consumed);
  }
  if (!squeeze) return;
  const std::string_view space = model_.escape_whitespaces ? kSpaceSymbol : std::string_view(" ");
  while (out.size() > begin && std::string_view(out).ends_with(space)) out.erase(out.size() - space.size());
}

}  // namespace baichuan
