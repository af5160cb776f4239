#include "data/tokenizer.h"

#include <mutex>

#include <sentencepiece_processor.h>

#include "core/error.h"
#include "core/files.h"
#include "data/bpe_encoder.h"
#include "data/sentencepiece_model.h"

namespace baichuan {

namespace {

constexpr std::string_view kFileName = "tokenizer.model";

fs::path find_model_file(const fs::path& given) {
  std::error_code ignored;
  const fs::path file = fs::is_directory(given, ignored) ? given / kFileName : given;
  if (!fs::is_regular_file(file, ignored))
    throw DataError("expected the SentencePiece model {}; there is no such file; copy {} from the base model",
                    file.string(), kFileName);
  return file;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// What SentencePiece holds for the life of the process is built at first use: its index takes longer to build than
// a short command to run.
class LazyProcessor {
 public:
  const sentencepiece::SentencePieceProcessor& get(std::string_view model, const fs::path& path) const {
    std::call_once(once_, [&] {
      const auto status = processor_.LoadFromSerializedProto({model.data(), model.size()});
      if (!status.ok())
        throw DataError("{}: expected a SentencePiece model; found: {}; copy tokenizer.model again", path.string(),
                        status.error_message());
    });
    return processor_;
  }

 private:
  mutable std::once_flag once_;
  mutable sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(const fs::path& given)
      : file(find_model_file(given)), model(parse_sentencepiece_model(as_text(file.bytes()), file.path().string())) {
    for (std::size_t id = 0; id < model.pieces.size(); ++id) {
      const Piece& piece = model.pieces[id];
      if (piece.type == PieceType::kUnknown) unk = static_cast<int32_t>(id);
      if (piece.type == PieceType::kControl && piece.text == "<s>") bos = static_cast<int32_t>(id);
      if (piece.type == PieceType::kControl && piece.text == "</s>") eos = static_cast<int32_t>(id);
    }
    if (bos < 0 || eos < 0)
      throw DataError(
          "{}: expected the control pieces <s> and </s>; found no {}; use the tokenizer.model of a Baichuan model",
          file.path().string(), bos < 0 ? "<s>" : "</s>");
  }

  const sentencepiece::SentencePieceProcessor& processor() const {
    return lazy_processor.get(as_text(file.bytes()), file.path());
  }

  const BpeEncoder& plain() const {
    std::call_once(plain_once, [this] {
      plain_encoder = std::make_unique<BpeEncoder>(model, ControlPieces::kPlainText, file.path().string());
    });
    return *plain_encoder;
  }

  const Piece& piece(int32_t id) const {
    if (id < 0 || static_cast<std::size_t>(id) >= model.pieces.size())
      throw DataError("expected ids from 0 to {} (the vocabulary of {}); found {}", model.pieces.size() - 1,
                      file.path().string(), id);
    return model.pieces[static_cast<std::size_t>(id)];
  }

  bool is_special(int32_t id) const { return id == unk || id == bos || id == eos; }

  MappedFile file;
  SentencePieceModel model;
  int32_t unk = 0;
  int32_t bos = -1;
  int32_t eos = -1;
  LazyProcessor lazy_processor;
  mutable std::once_flag plain_once;
  mutable std::unique_ptr<BpeEncoder> plain_encoder;
};

Tokenizer::Tokenizer(const fs::path& model_directory_or_file)
    : impl_(std::make_unique<Impl>(model_directory_or_file)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  const auto status = impl_->processor().Encode({text.data(), text.size()}, &ids);
  if (!status.ok()) throw DataError("cannot encode the text with {}: {}", path().string(), status.error_message());
  return ids;
}

std::vector<int32_t> Tokenizer::encode_plain(std::string_view text) const {
  std::vector<int32_t> ids;
  if (text.empty()) return ids;
  BpeEncoder::Workspace workspace;
  impl_->plain().append(text, /*at_start=*/true, workspace, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string text;
  std::vector<int> run;
  const auto flush = [&] {
    std::string part;
    const auto status = impl_->processor().Decode(run, &part);
    if (!status.ok()) throw DataError("cannot decode ids with {}: {}", path().string(), status.error_message());
    text += part;
    run.clear();
  };
  bool after_special = true;  // nothing stands before the first id either
  for (const int32_t id : ids) {
    const Piece& piece = impl_->piece(id);
    const bool special = impl_->is_special(id);
    if (special && !skip_special) {
      if (!after_special) text += ' ';
      flush();
      text += piece.text;
    } else if (!special) {
      run.push_back(id);
    }
    after_special = special;
  }
  flush();
  return text;
}

std::string Tokenizer::piece(int32_t id) const {
  return std::string(impl_->piece(id).text);
}

std::string Tokenizer::piece_bytes(int32_t id) const {
  const Piece& piece = impl_->piece(id);
  if (piece.type == PieceType::kControl || piece.type == PieceType::kUnknown) return {};
  if (piece.type == PieceType::kByte && piece.text.size() == 6)
    return {static_cast<char>(std::strtol(std::string(piece.text.substr(3, 2)).c_str(), nullptr, 16))};
  std::string bytes;
  std::string_view rest = piece.text;
  while (!rest.empty()) {
    const bool space = rest.starts_with(kSpaceSymbol);
    bytes += space ? ' ' : rest.front();
    rest.remove_prefix(space ? kSpaceSymbol.size() : 1);
  }
  return bytes;
}

std::optional<int32_t> Tokenizer::find_piece(std::string_view piece) const {
  for (std::size_t id = 0; id < impl_->model.pieces.size(); ++id)
    if (impl_->model.pieces[id].text == piece) return static_cast<int32_t>(id);
  return std::nullopt;
}

int32_t Tokenizer::vocab_size() const {
  return static_cast<int32_t>(impl_->model.pieces.size());
}
int32_t Tokenizer::unk_id() const {
  return impl_->unk;
}
int32_t Tokenizer::bos_id() const {
  return impl_->bos;
}
int32_t Tokenizer::eos_id() const {
  return impl_->eos;
}
int32_t Tokenizer::pad_id() const {
  return impl_->unk;
}
const fs::path& Tokenizer::path() const {
  return impl_->file.path();
}
std::span<const std::byte> Tokenizer::model_bytes() const {
  return impl_->file.bytes();
}

struct PlainEncoder::State {
  BpeEncoder::Workspace workspace{.cache = std::make_unique<WordCache>()};
  std::string repeated;
  std::vector<int32_t> repeated_ids;
};

PlainEncoder::PlainEncoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer), state_(std::make_unique<State>()) {}
PlainEncoder::~PlainEncoder() = default;

void PlainEncoder::append(std::string_view text, std::vector<int32_t>& ids) {
  if (!text.empty()) append_part(text, /*at_start=*/true, ids);
}

void PlainEncoder::append_repeated(std::string_view text, std::vector<int32_t>& ids) {
  if (state_->repeated != text) {
    state_->repeated = text;
    state_->repeated_ids.clear();
    append(text, state_->repeated_ids);
  }
  ids.insert(ids.end(), state_->repeated_ids.begin(), state_->repeated_ids.end());
}

void PlainEncoder::append_part(std::string_view text, bool at_start, std::vector<int32_t>& ids) {
  tokenizer_.impl_->plain().append(text, at_start, state_->workspace, ids);
}

}  // namespace baichuan
