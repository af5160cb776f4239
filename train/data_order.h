// The order in which an epoch visits the training rows.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Generator.h>

namespace baichuan {

enum class DataOrderMode {
  kSequential,  // the order of the data (--disable_shuffling)
  kCounter,     // a function of seed and epoch
  kTorch2023,   // exactly what PyTorch's DataLoader draws in the stack of 2023
};

class DataOrder {
 public:
  // In 2023 the order depended on whether there was one rank or several, and for several not on the seed.
  DataOrder(DataOrderMode mode, std::int64_t rows, std::uint64_t seed, std::int64_t ranks = 1);

  // Call once for each epoch, in order (or again for the current one after restore()).
  std::vector<std::int64_t> order(std::int64_t epoch);
  // Each evaluation pass of 2023 draws one number from the generator that also orders the data.
  void on_evaluation();

  // What a resumed run needs: the generator's state and the current epoch's seed; bytes, opaque.
  std::vector<std::uint8_t> state() const;
  void restore(const std::vector<std::uint8_t>& state);

 private:
  DataOrderMode mode_;
  std::int64_t rows_;
  std::uint64_t seed_;
  std::int64_t ranks_;
  at::Generator generator_;  // kTorch2023: stands for torch's global CPU generator
  std::int64_t epoch_ = -1;
  std::int64_t epoch_seed_ = 0;
};

}  // namespace baichuan
