#include "data/split.h"

#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

#include "core/error.h"

namespace baichuan {

namespace {

__extension__ using uint128 = unsigned __int128;

// NumPy's SeedSequence (after M. E. O'Neill's seed_seq_fe): a pool of four words into which the seed is hashed.
class SeedSequence {
 public:
  explicit SeedSequence(uint64_t seed) {
    const std::array<uint32_t, 2> words = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
    const std::size_t used = words[1] != 0 ? 2 : 1;
    for (std::size_t i = 0; i < pool_.size(); ++i) pool_[i] = hash(i < used ? words[i] : 0);
    for (std::size_t from = 0; from < pool_.size(); ++from)
      for (std::size_t to = 0; to < pool_.size(); ++to)
        if (from != to) pool_[to] = mix(pool_[to], hash(pool_[from]));
  }

  void generate(std::span<uint32_t> words) const {
    uint32_t constant = 0x8b51f9ddU;
    for (std::size_t i = 0; i < words.size(); ++i) {
      uint32_t value = pool_[i % pool_.size()] ^ constant;
      constant *= 0x58f38dedU;
      value *= constant;
      words[i] = value ^ (value >> 16);
    }
  }

 private:
  uint32_t hash(uint32_t value) {
    value ^= hash_constant_;
    hash_constant_ *= 0x931e8875U;
    value *= hash_constant_;
    return value ^ (value >> 16);
  }

  static uint32_t mix(uint32_t x, uint32_t y) {
    const uint32_t result = x * 0xca01f9ddU - y * 0x4973f715U;
    return result ^ (result >> 16);
  }

  uint32_t hash_constant_ = 0x43b0d7e5U;
  std::array<uint32_t, 4> pool_ = {};
};

// PCG XSL RR 128/64 (O'Neill 2014); 32-bit draws take the low half of a 64-bit one, then the high half.
class Pcg64 {
 public:
  explicit Pcg64(uint64_t seed) {
    std::array<uint32_t, 8> words = {};
    SeedSequence(seed).generate(words);
    const auto joined = [&](std::size_t i) { return (static_cast<uint64_t>(words[i + 1]) << 32) | words[i]; };
    const uint128 initial = (static_cast<uint128>(joined(0)) << 64) | joined(2);
    const uint128 stream = (static_cast<uint128>(joined(4)) << 64) | joined(6);
    increment_ = (stream << 1) | 1;
    step();
    state_ += initial;
    step();
  }

  uint64_t next64() {
    step();
    const auto folded = static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_);
    const auto turn = static_cast<unsigned>(state_ >> 122);
    return (folded >> turn) | (folded << ((64 - turn) & 63));
  }

  uint32_t next32() {
    if (std::exchange(has_half_, !has_half_)) return half_;
    const uint64_t both = next64();
    half_ = static_cast<uint32_t>(both >> 32);
    return static_cast<uint32_t>(both);
  }

  // A number from 0 to `most`, both included: draws are masked to its bits until one fits.
  uint64_t up_to(uint64_t most) {
    const uint64_t mask = most == 0 ? 0 : ~uint64_t{0} >> std::countl_zero(most);
    const bool narrow = most <= 0xffffffffU;
    uint64_t drawn = 0;
    do {
      drawn = (narrow ? next32() : next64()) & mask;
    } while (drawn > most);
    return drawn;
  }

 private:
  void step() {
    constexpr uint128 kMultiplier = (static_cast<uint128>(2549297995355413924ULL) << 64) | 4865540595714422341ULL;
    state_ = state_ * kMultiplier + increment_;
  }

  uint128 state_ = 0;
  uint128 increment_ = 0;
  uint32_t half_ = 0;
  bool has_half_ = false;
};

}  // namespace

std::vector<int64_t> numpy_permutation(uint64_t seed, int64_t n) {
  std::vector<int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  Pcg64 generator(seed);
  for (std::size_t i = order.size(); i-- > 1;) std::swap(order[i], order[generator.up_to(i)]);
  return order;
}

Split split_rows(int64_t n, double val_size, uint64_t seed) {
  Split split;
  if (val_size <= 0) {
    split.train.resize(static_cast<std::size_t>(n));
    std::iota(split.train.begin(), split.train.end(), 0);
    return split;
  }
  const double wanted = val_size < 1 ? std::ceil(val_size * static_cast<double>(n)) : std::floor(val_size);
  if (wanted >= static_cast<double>(n))
    throw DataError("--val_size {} takes {:.0f} rows for evaluation; the data set has {}; choose a smaller one",
                    val_size, wanted, n);
  const auto order = numpy_permutation(seed, n);
  const auto cut = order.begin() + static_cast<int64_t>(wanted);
  split.eval.assign(order.begin(), cut);
  split.train.assign(cut, order.end());
  return split;
}

}  // namespace baichuan
