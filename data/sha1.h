#pragma once

#include <string>
#include <string_view>

namespace baichuan {

// SHA-1 (FIPS 180-4) as 40 hexadecimal digits: dataset_info.json names files by it. Not for security.
std::string sha1_hex(std::string_view bytes);

}  // namespace baichuan
