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

}  // namespace

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
  for (uint32_t i = begin_[first]; i < begin_[first + 1]; ++i) {
    const std::string_view symbol = symbols_[i].text;
    if (symbol.size() > text.size()) continue;
    std::size_t same = 1;  // symbols are short and differ early: no call to memcmp
    while (same < symbol.size() && symbol[same] == text[same]) ++same;
    if (same == symbol.size()) return &symbols_[i];
  }
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
  for (unsigned byte = 0x80; byte < 0x100; ++byte) {
    const auto first = static_cast<unsigned char>(byte);
    const bool has_rule = !trie_.empty() && label_of(unit(offset_of(trie_[0]) ^ first)) == first;
    plain_lead_[first] = !symbols_.any_starts_with(first) && !has_rule;
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
  if (replacement.find(' ') == std::string_view::npos) {
    out.append(replacement);
    return;
  }
  for (const char byte : replacement) {
    if (byte == ' ' && model_.escape_whitespaces)
      out += kSpaceSymbol;
    else
      out += byte;
  }
}

// Bytes at the head of `text` that no rule touches. An ASCII letter before another character is left to step(): the
// two may combine.
std::size_t TextNormalizer::unchanged_run(std::string_view text) const {
  std::size_t end = 0;
  while (end < text.size()) {
    const auto byte = static_cast<unsigned char>(text[end]);
    if (byte < 0x80) {
      const bool before_ascii = end + 1 == text.size() || static_cast<unsigned char>(text[end + 1]) < 0x80;
      if (byte == ' ' || !plain_ascii_[byte] || !before_ascii) break;
      ++end;
    } else {
      const std::size_t length = plain_lead_[byte] ? utf8_character_length(text.substr(end)) : 0;
      if (length == 0) break;
      end += length;
    }
  }
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
    if (const std::size_t run = unchanged_run(text); run > 0) {
      out.append(text.substr(0, run));
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
