// SentencePiece's normaliser: rules "longest match at this place -> replacement" in a double-array trie, spaces
// written as U+2581. Places where a user-defined symbol stands are left as they are.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/sentencepiece_model.h"
#include "data/utf8.h"

namespace baichuan {

// Finds the longest of a fixed set of strings that stands at the head of a text.
class SymbolMatcher {
 public:
  struct Symbol {
    std::string_view text;
    int32_t id;
  };

  explicit SymbolMatcher(std::vector<Symbol> symbols);

  // Null when none stands there. The views given to the constructor must outlive the matcher.
  const Symbol* match(std::string_view text) const {
    const auto first = static_cast<unsigned char>(text.front());
    return begin_[first] == begin_[first + 1] ? nullptr : longest(text, first);
  }
  bool any_starts_with(unsigned char byte) const { return begin_[byte] != begin_[byte + 1]; }

 private:
  const Symbol* longest(std::string_view text, unsigned char first) const;

  std::vector<Symbol> symbols_;           // by first byte, longest first
  std::array<uint32_t, 257> begin_ = {};  // symbols with first byte b are [begin_[b], begin_[b + 1])
};

class TextNormalizer {
 public:
  // Both arguments must outlive the normaliser. Throws DataError naming `origin` when the rules are damaged.
  TextNormalizer(const SentencePieceModel& model, const SymbolMatcher& symbols, const std::string& origin);

  // Appends the normalised text. `at_start`: the text begins a string, so that the dummy space stands before it.
  void append_normalized(std::string_view text, bool at_start, std::string& out) const;

 private:
  struct Step {
    std::string_view replacement;
    std::size_t consumed;
  };
  Step step(std::string_view text) const;
  void append_escaped(std::string_view replacement, std::string& out) const;
  std::size_t unchanged_run(std::string_view text) const;
  uint32_t unit(std::size_t index) const { return index < trie_.size() ? trie_[index] : 0; }
  bool has_ascii_rule(unsigned char first) const;

  const SentencePieceModel& model_;
  const SymbolMatcher& symbols_;
  std::vector<uint32_t> trie_;
  std::string_view replacements_;
  std::array<bool, 256> plain_ascii_ = {};  // no rule and no symbol begins with this byte followed by ASCII
  std::array<bool, 256> plain_lead_ = {};   // no rule and no symbol begins with this first byte of several
};

}  // namespace baichuan
