// A string of at most 15 bytes as two words, so that comparing and hashing need no loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace baichuan {

struct ShortKey {
  static constexpr std::size_t kMaxBytes = 15;
  // Bytes that from_padded() may read behind the start of a string.
  static constexpr std::size_t kPadding = 16;

  uint64_t low = 0;
  uint64_t high = 0;  // the top byte is the length

  static ShortKey from(std::string_view text) {
    char padded[kPadding] = {};
    std::memcpy(padded, text.data(), text.size());
    return from_padded(padded, text.size());
  }

  // `begin` has kPadding readable bytes, of which the first `bytes` count.
  static ShortKey from_padded(const char* begin, std::size_t bytes) {
    ShortKey key;
    std::memcpy(&key.low, begin, 8);
    std::memcpy(&key.high, begin + 8, 8);
    if (bytes < 8) {
      key.low &= (uint64_t{1} << (8 * bytes)) - 1;
      key.high = 0;
    } else {
      key.high &= (uint64_t{1} << (8 * (bytes - 8))) - 1;
    }
    key.high |= static_cast<uint64_t>(bytes) << 56;
    return key;
  }

  // Both words multiplied into 128 bits and folded (as in wyhash).
  uint64_t hash() const {
    __extension__ using uint128 = unsigned __int128;
    const uint128 product = static_cast<uint128>(low ^ 0x9e3779b97f4a7c15ULL) * (high ^ 0xd1b54a32d192ed03ULL);
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }

  bool operator==(const ShortKey&) const = default;
};

}  // namespace baichuan
