// The text of a DeepSpeed file. DeepSpeed reads it with Hjson, so that files in use hold more than JSON allows:
// comments
// (#, //, /* */), unquoted keys and words, single quotes, trailing commas, and a line's end in a comma's place. Hjson's
// multi-line strings and roots without braces are not read.
#pragma once

#include <string>
#include <string_view>

#include "core/json.h"

namespace baichuan {

// An object, its members in the order of the text. Throws DataError naming `origin`, the line and what was found there;
// a key that an object holds twice is such an error, as in DeepSpeed.
OrderedJson parse_deepspeed_json(std::string_view text, const std::string& origin);

// `argument` is a file, or, as DeepSpeed takes it too, the file's text in URL-safe base64.
struct DeepSpeedText {
  std::string text;
  std::string origin;  // what messages call it
};
DeepSpeedText read_deepspeed_argument(const std::string& argument);

}  // namespace baichuan
