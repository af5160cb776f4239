#include "core/philox.h"

#include <numeric>
#include <utility>

namespace baichuan {

PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

PhiloxKey philox_key(std::uint64_t seed, DrawPurpose purpose) {
  // The purpose is mixed in by one block, so that seeds that differ by a purpose's number do not collide.
  const auto mixed = philox4x32({static_cast<std::uint32_t>(purpose), 0, 0, 0},
                                {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  return {mixed[0], mixed[1]};
}

std::vector<std::int64_t> random_order(std::int64_t n, std::uint64_t seed, std::uint64_t epoch) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const PhiloxKey key = philox_key(seed, DrawPurpose::kDataOrder);
  for (std::int64_t i = n - 1; i > 0; --i) {
    const auto draw = philox4x32({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32),
                                  static_cast<std::uint32_t>(epoch), static_cast<std::uint32_t>(epoch >> 32)},
                                 key);
    const std::uint64_t bits = (std::uint64_t{draw[0]} << 32) | draw[1];
    // 64 bits modulo i + 1: the bias is below 2^-30 for any data set that fits a disk.
    std::swap(order[static_cast<std::size_t>(i)],
              order[static_cast<std::size_t>(bits % static_cast<std::uint64_t>(i + 1))]);
  }
  return order;
}

}  // namespace baichuan
