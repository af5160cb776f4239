#include "data/bpe_encoder.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/error.h"

namespace baichuan {

namespace {

bool is_text_piece(PieceType type) {
  return type == PieceType::kNormal || type == PieceType::kUserDefined;
}

std::vector<SymbolMatcher::Symbol> user_defined_symbols(const SentencePieceModel& model, ControlPieces control) {
  std::vector<SymbolMatcher::Symbol> symbols;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const Piece& piece = model.pieces[id];
    if (piece.type != PieceType::kUserDefined) continue;
    if (control == ControlPieces::kPlainText && is_control_like(piece.text)) continue;
    symbols.push_back({piece.text, static_cast<int32_t>(id)});
  }
  return symbols;
}

// Best merge first: the higher score, then the one further left.
struct Worse {
  bool operator()(const BpeEncoder::Workspace::Merge& a, const BpeEncoder::Workspace::Merge& b) const {
    return a.score < b.score || (a.score == b.score && a.left > b.left);
  }
};

}  // namespace

bool is_control_like(std::string_view piece) {
  constexpr std::string_view kReserved = "<reserved_";
  if (piece == "<SEP>" || piece == "<CLS>") return true;
  if (!piece.starts_with(kReserved) || !piece.ends_with('>')) return false;
  const auto number = piece.substr(kReserved.size(), piece.size() - kReserved.size() - 1);
  return !number.empty() && number.find_first_not_of("0123456789") == std::string_view::npos;
}

BpeEncoder::BpeEncoder(const SentencePieceModel& model, ControlPieces control, const std::string& origin)
    : model_(model), symbols_(user_defined_symbols(model, control)), normalizer_(model, symbols_, origin) {
  const auto unused = [](const Piece& piece) { return piece.type == PieceType::kUnused; };
  if (model.model_type != SentencePieceModel::kBpe || model.treat_whitespace_as_suffix ||
      std::any_of(model.pieces.begin(), model.pieces.end(), unused))
    throw DataError(
        "{}: expected a byte-pair vocabulary as Baichuan's; found SentencePiece model type {} (1 unigram, 2 BPE, "
        "3 word, 4 character){}; use the tokenizer.model of a Baichuan model",
        origin, model.model_type, model.model_type == SentencePieceModel::kBpe ? " with unused or suffix pieces" : "");
  table_.assign(std::bit_ceil(model.pieces.size() * 2 + 1), -1);
  std::fill(std::begin(first_byte_id_), std::end(first_byte_id_), -1);
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    const Piece& piece = model.pieces[i];
    const auto id = static_cast<int32_t>(i);
    if (piece.type == PieceType::kUnknown) unknown_id_ = id;
    if (piece.type == PieceType::kByte && piece.text.size() == 6)
      first_byte_id_[std::strtol(std::string(piece.text.substr(3, 2)).c_str(), nullptr, 16) & 0xff] = id;
    if (!is_text_piece(piece.type)) continue;
    if (control == ControlPieces::kPlainText && is_control_like(piece.text)) continue;
    if (piece.text.find(kSpaceSymbol, 1) != std::string_view::npos) cut_at_spaces_ = false;
    std::size_t slot = XXH3_64bits(piece.text.data(), piece.text.size()) & (table_.size() - 1);
    while (table_[slot] >= 0) slot = (slot + 1) & (table_.size() - 1);
    table_[slot] = id;
  }
  const auto* const missing = std::find(std::begin(first_byte_id_), std::end(first_byte_id_), -1);
  if (model.byte_fallback && missing != std::end(first_byte_id_))
    throw DataError("{}: expected a piece for every byte; found none for 0x{:02X}; copy tokenizer.model again", origin,
                    missing - std::begin(first_byte_id_));
}

int32_t BpeEncoder::find(std::string_view piece) const {
  std::size_t slot = XXH3_64bits(piece.data(), piece.size()) & (table_.size() - 1);
  while (table_[slot] >= 0) {
    const int32_t id = table_[slot];
    if (model_.pieces[static_cast<std::size_t>(id)].text == piece) return id;
    slot = (slot + 1) & (table_.size() - 1);
  }
  return -1;
}

void BpeEncoder::append(std::string_view text, bool at_start, Workspace& workspace, std::vector<int32_t>& ids) const {
  const std::size_t first = ids.size();
  workspace.normalized.clear();
  normalizer_.append_normalized(text, at_start, workspace.normalized);
  const std::string_view all = workspace.normalized;
  std::size_t begin = 0;
  std::size_t at = 0;
  const auto flush = [&](std::size_t end) {
    if (end > begin) append_word(all.substr(begin, end - begin), workspace, ids);
    begin = end;
  };
  while (at < all.size()) {
    const std::string_view rest = all.substr(at);
    if (const auto* const symbol = symbols_.match(rest)) {
      flush(at);
      ids.push_back(symbol->id);
      at += symbol->text.size();
      begin = at;
      continue;
    }
    if (cut_at_spaces_ && at > begin && rest.starts_with(kSpaceSymbol)) flush(at);
    at += std::max<std::size_t>(1, utf8_character_length(rest));
  }
  flush(at);
  if (model_.byte_fallback) return;
  // Without byte pieces a run of unknown characters is one unknown id.
  const auto both_unknown = [this](int32_t a, int32_t b) { return a == unknown_id_ && b == unknown_id_; };
  ids.erase(std::unique(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end(), both_unknown), ids.end());
}

void BpeEncoder::append_word(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const {
  if (workspace.cache == nullptr || word.size() > WordCache::kMaxBytes) return merge_word(word, workspace, ids);
  const uint64_t hash = XXH3_64bits(word.data(), word.size());
  WordCache::Entry& entry = workspace.cache->at(hash);
  if (entry.hash == hash && std::string_view(entry.word, entry.bytes) == word) {
    ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
    return;
  }
  const std::size_t first = ids.size();
  merge_word(word, workspace, ids);
  const std::size_t count = ids.size() - first;
  if (count > WordCache::kMaxIds) return;
  entry.hash = hash;
  entry.bytes = static_cast<uint8_t>(word.size());
  entry.count = static_cast<uint8_t>(count);
  std::memcpy(entry.word, word.data(), word.size());
  std::copy(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end(), entry.ids);
}

// Looks whether two neighbouring symbols make a piece, and if so notes the merge.
void BpeEncoder::propose(std::string_view word, int32_t left, int32_t right, Workspace& workspace) const {
  if (left < 0 || right < 0) return;
  const auto& a = workspace.symbols[static_cast<std::size_t>(left)];
  const auto& b = workspace.symbols[static_cast<std::size_t>(right)];
  const int32_t id = find(word.substr(a.begin, a.bytes + b.bytes));
  if (id < 0) return;
  workspace.merges.push_back({model_.pieces[static_cast<std::size_t>(id)].score, left, right, id, a.bytes + b.bytes});
  std::push_heap(workspace.merges.begin(), workspace.merges.end(), Worse());
}

void BpeEncoder::merge_word(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const {
  auto& symbols = workspace.symbols;
  auto& merges = workspace.merges;
  symbols.clear();
  merges.clear();
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t bytes = std::max<std::size_t>(1, utf8_character_length(word.substr(at)));
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back(
        {static_cast<uint32_t>(at), static_cast<uint32_t>(bytes), index - 1, index + 1, find(word.substr(at, bytes))});
    at += bytes;
  }
  symbols.back().next = -1;
  for (std::size_t i = 1; i < symbols.size(); ++i)
    propose(word, static_cast<int32_t>(i - 1), static_cast<int32_t>(i), workspace);
  while (!merges.empty()) {
    std::pop_heap(merges.begin(), merges.end(), Worse());
    const auto best = merges.back();
    merges.pop_back();
    auto& left = symbols[static_cast<std::size_t>(best.left)];
    auto& right = symbols[static_cast<std::size_t>(best.right)];
    // One of the two has been merged since with another neighbour.
    if (left.bytes == 0 || right.bytes == 0 || left.bytes + right.bytes != best.bytes) continue;
    left.bytes = best.bytes;
    left.id = best.id;
    left.next = right.next;
    right.bytes = 0;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = best.left;
    propose(word, left.previous, best.left, workspace);
    propose(word, best.left, left.next, workspace);
  }
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<std::size_t>(i)].next) {
    const auto& symbol = symbols[static_cast<std::size_t>(i)];
    if (symbol.id >= 0)
      ids.push_back(symbol.id);
    else
      append_unknown(word.substr(symbol.begin, symbol.bytes), ids);
  }
}

void BpeEncoder::append_unknown(std::string_view character, std::vector<int32_t>& ids) const {
  if (!model_.byte_fallback) {
    ids.push_back(unknown_id_);
    return;
  }
  for (const char byte : character) ids.push_back(first_byte_id_[static_cast<unsigned char>(byte)]);
}

}  // namespace baichuan
