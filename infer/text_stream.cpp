#include "infer/text_stream.h"

namespace baichuan {

std::string TextStream::append(std::int32_t id) {
  if (id == tokenizer_.unk_id() || id == tokenizer_.bos_id() || id == tokenizer_.eos_id()) return {};
  std::string bytes = tokenizer_.piece_bytes(id);
  // A byte piece <0x20> is a blank that was meant; only a piece's own word mark stands for the dummy space.
  constexpr std::string_view kWordMark = "\xE2\x96\x81";
  if (at_start_ && tokenizer_.piece(id).starts_with(kWordMark)) bytes.erase(0, 1);
  at_start_ = false;
  return characters_.append(bytes);
}

}  // namespace baichuan
