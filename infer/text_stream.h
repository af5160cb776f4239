// The text of one message from its tokens, as they come.
#pragma once

#include <cstdint>
#include <string>

#include "data/tokenizer.h"
#include "infer/utf8_stream.h"

namespace baichuan {

// Emits whole characters; concatenated, what append() and finish() return is the tokenizer's decode() of all ids.
// The space that SentencePiece puts before a text is dropped once, at the start of the message; ids of <unk>, <s>
// and </s> give no text. `tokenizer` outlives the stream.
class TextStream {
 public:
  explicit TextStream(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  std::string append(std::int32_t id);
  std::string finish() { return characters_.finish(); }

 private:
  const Tokenizer& tokenizer_;
  Utf8Stream characters_;
  bool at_start_ = true;
};

}  // namespace baichuan
