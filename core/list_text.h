// Lists that stand in one text: "a, b" of a flag, "x|y" of its choices.
#pragma once

#include <string_view>
#include <vector>

namespace baichuan {

// Without the blanks, tabs and line ends around it.
[[nodiscard]] std::string_view trimmed(std::string_view text);

// The parts between separators, empty ones too: one for a text without a separator, two for ",".
[[nodiscard]] std::vector<std::string_view> split(std::string_view text, char separator);

}  // namespace baichuan
