#include "core/parse_size.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>

#include "core/error.h"

namespace baichuan {

std::int64_t parse_size(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 10> kUnits{{{"", 1},
                                                                        {"b", 1},
                                                                        {"kb", 1e3},
                                                                        {"mb", 1e6},
                                                                        {"gb", 1e9},
                                                                        {"tb", 1e12},
                                                                        {"kib", 1024.0},
                                                                        {"mib", 1024.0 * 1024},
                                                                        {"gib", 1024.0 * 1024 * 1024},
                                                                        {"tib", 1024.0 * 1024 * 1024 * 1024}}};
  double number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  std::string unit;
  for (const char* at = end; at != text.data() + text.size(); ++at)
    if (*at != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*at)));
  for (const auto& [name, factor] : kUnits) {
    if (failure != std::errc() || unit != name) continue;
    const double bytes = std::round(number * factor);
    if (bytes >= 1 && bytes < 9e18) return static_cast<std::int64_t>(bytes);
  }
  throw UsageError("expected a size such as 2GB, 500MB or 2GiB; found '{}'; give a number and a unit", text);
}

}  // namespace baichuan
