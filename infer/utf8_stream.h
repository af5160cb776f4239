// Text that arrives byte by byte: emitted as whole characters only.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace baichuan {

// Holds back an incomplete character (3 bytes at most) until the rest arrives. Bytes that can no longer become
// valid UTF-8 turn into U+FFFD, one for each maximal subpart (The Unicode Standard, table 3-8).
class Utf8Stream {
 public:
  // Takes more bytes and returns what is certain now: the longest prefix of whole characters.
  std::string append(std::string_view bytes);
  // The end of the text: what was held back is incomplete for good.
  std::string finish();

 private:
  std::string held_;
};

// Without the control characters (C0 but newline and tab, DEL, C1) with which a text could steer a terminal.
// `text` is valid UTF-8.
std::string without_control_characters(std::string_view text);

}  // namespace baichuan
