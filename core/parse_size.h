#pragma once

#include <cstdint>
#include <string_view>

namespace baichuan {

// Bytes of "2GB" (10^9 each), "500MB" or "79.2GiB" (2^30 each), "5000". Throws UsageError.
std::int64_t parse_size(std::string_view text);

}  // namespace baichuan
