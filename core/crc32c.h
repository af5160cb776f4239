#pragma once

#include <cstddef>
#include <cstdint>

namespace baichuan {

// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), as TensorBoard's records use it.
// Pass the previous result as `crc` to continue over several pieces.
std::uint32_t crc32c(const void* data, std::size_t bytes, std::uint32_t crc = 0);

}  // namespace baichuan
