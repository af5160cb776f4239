#include "data/bpe_encoder.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <fmt/format.h>

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

// Words up to this length are merged by merge_short_word().
constexpr std::size_t kShortWordBytes = 96;

// Best merge first: the higher score, then the one further left.
struct Worse {
  bool operator()(const BpeEncoder::Workspace::Merge& a, const BpeEncoder::Workspace::Merge& b) const {
    return a.score < b.score || (a.score == b.score && a.left > b.left);
  }
};

}  // namespace

const WordCache::Entry* WordCache::find(const ShortKey& word, uint64_t hash) {
  Entry* const set = &entries_[(hash % kSets) * kWays];
  for (std::size_t way = 0; way < kWays; ++way) {
    if (set[way].word != word) continue;
    if (way > 0) std::swap(set[way], set[way - 1]);  // words in use move to the front
    return &set[way > 0 ? way - 1 : 0];
  }
  return nullptr;
}

void WordCache::insert(const ShortKey& word, uint64_t hash, std::span<const int32_t> ids) {
  if (ids.size() > kMaxIds) return;
  Entry& entry = entries_[(hash % kSets) * kWays + kWays - 1];
  entry.word = word;
  entry.count = static_cast<int32_t>(ids.size());
  std::copy(ids.begin(), ids.end(), entry.ids);
}

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
  tags_.resize(std::bit_ceil(model.pieces.size() * 2 + 1));
  slots_.resize(tags_.size());
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
    add_piece(piece.text, id);
  }
  for (unsigned byte = 0; byte < cuts_at_.size(); ++byte)
    cuts_at_[byte] = symbols_.any_starts_with(static_cast<unsigned char>(byte));
  if (cut_at_spaces_) cuts_at_[static_cast<unsigned char>(kSpaceSymbol.front())] = true;
  const auto* const missing = std::find(std::begin(first_byte_id_), std::end(first_byte_id_), -1);
  if (model.byte_fallback && missing != std::end(first_byte_id_))
    throw DataError("{}: expected a piece for every byte; found none for 0x{:02X}; copy tokenizer.model again", origin,
                    missing - std::begin(first_byte_id_));
}

void BpeEncoder::add_piece(std::string_view text, int32_t id) {
  longest_piece_ = std::max(longest_piece_, text.size());
  if (text.size() > ShortKey::kMaxBytes) {
    long_pieces_.emplace(text, id);
    return;
  }
  const ShortKey key = ShortKey::from(text);
  const uint64_t hash = key.hash();
  std::size_t slot = hash & (tags_.size() - 1);
  while (tags_[slot] != 0) slot = (slot + 1) & (tags_.size() - 1);
  tags_[slot] = tag_of(hash);
  slots_[slot] = {key, id};
}

int32_t BpeEncoder::find_padded(std::string_view text) const {
  if (text.size() > ShortKey::kMaxBytes) {
    if (text.size() > longest_piece_) return -1;
    const auto found = long_pieces_.find(text);
    return found == long_pieces_.end() ? -1 : found->second;
  }
  const ShortKey key = ShortKey::from_padded(text.data(), text.size());
  const uint64_t hash = key.hash();
  const uint8_t tag = tag_of(hash);
  for (std::size_t slot = hash & (tags_.size() - 1); tags_[slot] != 0; slot = (slot + 1) & (tags_.size() - 1))
    if (tags_[slot] == tag && slots_[slot].piece == key) return slots_[slot].id;
  return -1;
}

void BpeEncoder::append(std::string_view text, bool at_start, Workspace& workspace, std::vector<int32_t>& ids) const {
  const std::size_t first = ids.size();
  std::string& normalized = workspace.normalized;
  normalized.clear();
  normalizer_.append_normalized(text, at_start, normalized);
  normalized.append(ShortKey::kPadding, '\0');
  const std::string_view all(normalized.data(), normalized.size() - ShortKey::kPadding);
  std::size_t begin = 0;
  std::size_t at = 0;
  const auto flush = [&] {
    if (at > begin) append_word(all.substr(begin, at - begin), workspace, ids);
    begin = at;
  };
  while (at < all.size()) {
    const auto byte = static_cast<unsigned char>(all[at]);
    if (!cuts_at_[byte]) {
      ++at;
      continue;
    }
    const std::string_view rest = all.substr(at);
    if (const auto* const symbol = symbols_.match(rest)) {
      flush();
      ids.push_back(symbol->id);
      at += symbol->text.size();
      begin = at;
      continue;
    }
    if (cut_at_spaces_ && rest.starts_with(kSpaceSymbol)) flush();
    ++at;
  }
  flush();
  if (model_.byte_fallback) return;
  // Without byte pieces a run of unknown characters is one unknown id.
  const auto both_unknown = [this](int32_t a, int32_t b) { return a == unknown_id_ && b == unknown_id_; };
  ids.erase(std::unique(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end(), both_unknown), ids.end());
}

void BpeEncoder::append_word(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const {
  if (workspace.cache == nullptr || word.size() > ShortKey::kMaxBytes) return merge_word(word, workspace, ids);
  const ShortKey key = ShortKey::from_padded(word.data(), word.size());
  const uint64_t hash = key.hash();
  if (const auto* const known = workspace.cache->find(key, hash)) {
    ids.insert(ids.end(), known->ids, known->ids + known->count);
    return;
  }
  const std::size_t first = ids.size();
  merge_word(word, workspace, ids);
  workspace.cache->insert(key, hash, std::span(ids).subspan(first));
}

void BpeEncoder::merge_word(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const {
  if (word.size() <= kShortWordBytes)
    merge_short_word(word, ids);
  else
    merge_long_word(word, workspace, ids);
}

// Few symbols: looking through all pairs for the best beats any clever order.
void BpeEncoder::merge_short_word(std::string_view word, std::vector<int32_t>& ids) const {
  struct Pair {
    float score;
    int32_t id;
  };
  constexpr int32_t kUnlooked = -2;  // a single character whose id nobody has asked for
  std::array<uint8_t, kShortWordBytes + 1> begins;
  std::array<int32_t, kShortWordBytes> symbols;
  std::array<Pair, kShortWordBytes> pairs;  // of a symbol with the next
  std::size_t count = 0;
  std::size_t at = 0;
  for (; at < word.size(); at += std::max<std::size_t>(1, utf8_character_length(word.substr(at)))) {
    begins[count] = static_cast<uint8_t>(at);
    symbols[count++] = kUnlooked;
  }
  begins[count] = static_cast<uint8_t>(word.size());
  const auto look_up = [&](std::size_t i) {
    const int32_t id = find_padded(word.substr(begins[i], begins[i + 2] - begins[i]));
    pairs[i] = {id < 0 ? 0 : model_.pieces[static_cast<std::size_t>(id)].score, id};
  };
  for (std::size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    std::size_t best = count;
    for (std::size_t i = 0; i + 1 < count; ++i)
      if (pairs[i].id >= 0 && (best == count || pairs[i].score > pairs[best].score)) best = i;
    if (best == count) break;
    symbols[best] = pairs[best].id;
    for (std::size_t i = best + 1; i < count; ++i) {
      begins[i] = begins[i + 1];
      symbols[i] = symbols[std::min(i + 1, count - 1)];
      pairs[i - 1] = pairs[i];
    }
    --count;
    if (best > 0) look_up(best - 1);
    if (best + 1 < count) look_up(best);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::string_view symbol = word.substr(begins[i], begins[i + 1] - begins[i]);
    append_symbol(symbol, symbols[i] == kUnlooked ? find_padded(symbol) : symbols[i], ids);
  }
}

// Looks whether two neighbouring symbols make a piece, and if so notes the merge.
void BpeEncoder::propose(std::string_view word, int32_t left, int32_t right, Workspace& workspace) const {
  if (left < 0 || right < 0) return;
  const auto& a = workspace.symbols[static_cast<std::size_t>(left)];
  const auto& b = workspace.symbols[static_cast<std::size_t>(right)];
  const int32_t id = find_padded(word.substr(a.begin, a.bytes + b.bytes));
  if (id < 0) return;
  workspace.merges.push_back({model_.pieces[static_cast<std::size_t>(id)].score, left, right, id, a.bytes + b.bytes});
  std::push_heap(workspace.merges.begin(), workspace.merges.end(), Worse());
}

void BpeEncoder::merge_long_word(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const {
  auto& symbols = workspace.symbols;
  auto& merges = workspace.merges;
  symbols.clear();
  merges.clear();
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t bytes = std::max<std::size_t>(1, utf8_character_length(word.substr(at)));
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(bytes), index - 1, index + 1,
                       find_padded(word.substr(at, bytes))});
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
    append_symbol(word.substr(symbol.begin, symbol.bytes), symbol.id, ids);
  }
}

// A character without a piece becomes its bytes, or the unknown id where there are no byte pieces.
void BpeEncoder::append_symbol(std::string_view symbol, int32_t id, std::vector<int32_t>& ids) const {
  if (id >= 0)
    ids.push_back(id);
  else if (!model_.byte_fallback)
    ids.push_back(unknown_id_);
  else
    for (const char byte : symbol) ids.push_back(first_byte_id_[static_cast<unsigned char>(byte)]);
}

}  // namespace baichuan
