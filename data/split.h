// The split into training and evaluation rows, the same as NumPy and the Python stack of 2023 make it.
#pragma once

#include <cstdint>
#include <vector>

namespace baichuan {

// numpy.random.default_rng(seed).permutation(n): PCG64 seeded through SeedSequence, Fisher-Yates from the end.
std::vector<int64_t> numpy_permutation(uint64_t seed, int64_t n);

struct Split {
  std::vector<int64_t> train;
  std::vector<int64_t> eval;
};

// `val_size` below 1 is a share of n, rounded up; from 1 it is a count, fractions cut off; 0 keeps every row in order
// for training. Throws DataError when no row is left to train on.
Split split_rows(int64_t n, double val_size, uint64_t seed);

}  // namespace baichuan
