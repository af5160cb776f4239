#include "data/sentencepiece_model.h"

#include <cstring>
#include <functional>

#include "core/error.h"

namespace baichuan {

namespace {

// A field of a protocol buffer message: its number and either a varint, 32 bits or bytes.
struct ProtoField {
  uint64_t number = 0;
  uint64_t varint = 0;
  uint32_t fixed32 = 0;
  std::string_view bytes;
};

class ProtoReader {
 public:
  explicit ProtoReader(std::string_view bytes) : rest_(bytes) {}

  // False at the end; sets damaged() and returns false for bytes that are no message.
  bool next(ProtoField& field) {
    if (rest_.empty() || damaged_) return false;
    uint64_t tag = 0;
    if (!read_varint(tag)) return false;
    field = {};
    field.number = tag >> 3;
    switch (tag & 7) {
      case 0:
        return read_varint(field.varint);
      case 1:
        return skip(8);
      case 2: {
        uint64_t length = 0;
        if (!read_varint(length) || length > rest_.size()) return fail();
        field.bytes = rest_.substr(0, length);
        rest_.remove_prefix(length);
        return true;
      }
      case 5:
        if (rest_.size() < 4) return fail();
        std::memcpy(&field.fixed32, rest_.data(), 4);
        return skip(4);
      default:
        return fail();
    }
  }

  bool damaged() const { return damaged_; }

 private:
  bool fail() {
    damaged_ = true;
    return false;
  }

  bool skip(std::size_t bytes) {
    if (rest_.size() < bytes) return fail();
    rest_.remove_prefix(bytes);
    return true;
  }

  bool read_varint(uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return fail();
  }

  std::string_view rest_;
  bool damaged_ = false;
};

using OnField = std::function<void(const ProtoField&)>;

bool for_each_field(std::string_view message, const OnField& on_field) {
  ProtoReader reader(message);
  for (ProtoField field; reader.next(field);) on_field(field);
  return !reader.damaged();
}

bool parse_piece(std::string_view message, Piece& piece) {
  bool known_type = true;
  const bool whole = for_each_field(message, [&](const ProtoField& field) {
    if (field.number == 1) piece.text = field.bytes;
    if (field.number == 2) std::memcpy(&piece.score, &field.fixed32, sizeof piece.score);
    if (field.number != 3) return;
    known_type = field.varint >= 1 && field.varint <= 6;
    if (known_type) piece.type = static_cast<PieceType>(field.varint);
  });
  return whole && known_type && !piece.text.empty();
}

bool parse_trainer_spec(std::string_view message, SentencePieceModel& model) {
  return for_each_field(message, [&](const ProtoField& field) {
    if (field.number == 3) model.model_type = static_cast<int64_t>(field.varint);
    if (field.number == 24) model.treat_whitespace_as_suffix = field.varint != 0;
    if (field.number == 35) model.byte_fallback = field.varint != 0;
  });
}

bool parse_normalizer_spec(std::string_view message, SentencePieceModel& model) {
  return for_each_field(message, [&](const ProtoField& field) {
    if (field.number == 2) model.charsmap = field.bytes;
    if (field.number == 3) model.add_dummy_prefix = field.varint != 0;
    if (field.number == 4) model.remove_extra_whitespaces = field.varint != 0;
    if (field.number == 5) model.escape_whitespaces = field.varint != 0;
  });
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& origin) {
  SentencePieceModel model;
  bool whole = true;
  int64_t unknown_pieces = 0;
  const bool message_whole = for_each_field(bytes, [&](const ProtoField& field) {
    if (field.number == 1) {
      Piece piece;
      whole = parse_piece(field.bytes, piece) && whole;
      unknown_pieces += piece.type == PieceType::kUnknown ? 1 : 0;
      model.pieces.push_back(piece);
    }
    if (field.number == 2) whole = parse_trainer_spec(field.bytes, model) && whole;
    if (field.number == 3) whole = parse_normalizer_spec(field.bytes, model) && whole;
  });
  if (!message_whole || !whole || unknown_pieces != 1)
    throw DataError(
        "{}: expected a SentencePiece model; found {} bytes that are damaged, cut short or something else; copy "
        "tokenizer.model again from the model it belongs to",
        origin, bytes.size());
  return model;
}

}  // namespace baichuan
