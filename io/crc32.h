// The checksum of zip files (polynomial 0x04c11db7, reflected); core/crc32c.h is another one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace baichuan {

// Continues `crc` (0 at the start) over more bytes.
std::uint32_t crc32(std::uint32_t crc, const void* data, std::size_t bytes);

}  // namespace baichuan
