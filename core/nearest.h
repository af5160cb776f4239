#pragma once

#include <span>
#include <string>
#include <string_view>

namespace baichuan {

// The candidate with the smallest edit distance to `word`; empty when none is near (a third of the length at most).
std::string nearest_name(std::string_view word, std::span<const std::string> candidates);

}  // namespace baichuan
