// What a SentencePiece model file says: pieces, scores, normaliser. The file is a protocol buffer; only the fields
// that change how text becomes ids are read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace baichuan {

enum class PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Piece {
  std::string_view text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

// Views into the bytes it was parsed from, which must outlive it.
struct SentencePieceModel {
  static constexpr int64_t kBpe = 2;

  std::vector<Piece> pieces;  // by id
  std::string_view charsmap;  // rules of the normaliser; empty: text is left as it is
  int64_t model_type = 1;     // 1 unigram, 2 BPE, 3 word, 4 character
  bool byte_fallback = false;
  bool treat_whitespace_as_suffix = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

// Throws DataError naming `origin` when the bytes are not a SentencePiece model with exactly one unknown piece.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& origin);

// U+2581, which stands for a space inside pieces.
inline constexpr std::string_view kSpaceSymbol = "\xe2\x96\x81";

}  // namespace baichuan
