// Text to ids and back with a Baichuan tokenizer.model (SentencePiece, byte-pair pieces, byte fallback).
// No id for the beginning or the end of a text is ever added: templates place control ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace baichuan {

// Every const member may be called from several threads.
class Tokenizer {
 public:
  // A model directory that holds tokenizer.model, or the file itself. Throws DataError when it is missing or damaged.
  explicit Tokenizer(const std::filesystem::path& model_directory_or_file);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // As SentencePiece parses the text: `<reserved_102>` in it is one id.
  std::vector<int32_t> encode(std::string_view text) const;

  // Text of users and data sets: `<reserved_N>`, `<SEP>`, `<CLS>`, `<s>`, `</s>` and `<unk>` are spelled with ordinary
  // pieces and never give a control id. All else is as in encode().
  std::vector<int32_t> encode_plain(std::string_view text) const;

  // `skip_special` leaves out <unk>, <s> and </s>; role pieces such as <reserved_102> are text. With special pieces
  // kept, a blank stands before the text in front of one, as the Hugging Face class of Baichuan prints it.
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

  // The piece as it stands in the vocabulary: U+2581 for a space, <0xE4> for a byte. Throws DataError for a wrong id.
  std::string piece(int32_t id) const;
  // The bytes that the id adds to a text: a space, a raw byte, nothing for <s>, </s>, <unk>.
  std::string piece_bytes(int32_t id) const;
  // The id of a piece of any type.
  std::optional<int32_t> find_piece(std::string_view piece) const;

  int32_t vocab_size() const;
  int32_t unk_id() const;
  int32_t bos_id() const;
  int32_t eos_id() const;
  int32_t pad_id() const;  // Baichuan pads with <unk>

  const std::filesystem::path& path() const;
  std::span<const std::byte> model_bytes() const;

 private:
  friend class PlainEncoder;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// encode_plain() for one thread that encodes much: words seen before are looked up. The tokenizer must outlive it.
class PlainEncoder {
 public:
  explicit PlainEncoder(const Tokenizer& tokenizer);
  ~PlainEncoder();
  PlainEncoder(const PlainEncoder&) = delete;
  PlainEncoder& operator=(const PlainEncoder&) = delete;

  // What encode_plain() gives: nothing for an empty text.
  void append(std::string_view text, std::vector<int32_t>& ids);
  // The same, for a text that most calls repeat: the ids of the last one are kept.
  void append_repeated(std::string_view text, std::vector<int32_t>& ids);
  // A piece of a longer string whose other parts are control pieces: with the dummy space when `at_start`, even
  // before an empty text, and never without.
  void append_part(std::string_view text, bool at_start, std::vector<int32_t>& ids);

  const Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  const Tokenizer& tokenizer_;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baichuan
