// Philox4x32-10, the counter-based generator of Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3").
// Draw n of a stream is a function of (key, counter): no state, so ranks, resumed runs and recomputation agree.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace baichuan {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key);

// What a stream of draws is for; part of the key, so that no two uses share numbers.
enum class DrawPurpose : std::uint32_t {
  kDataOrder = 1,
  kDropout = 2,
  kAdapterInit = 3,
  kWeightInit = 4,
  kSampling = 5
};

PhiloxKey philox_key(std::uint64_t seed, DrawPurpose purpose);

// A uniformly random order of 0 … n-1 (Fisher-Yates): a function of (seed, epoch) alone.
std::vector<std::int64_t> random_order(std::int64_t n, std::uint64_t seed, std::uint64_t epoch);

}  // namespace baichuan
