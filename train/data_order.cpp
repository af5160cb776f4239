#include "train/data_order.h"

#include <cstring>
#include <numeric>

#include <torch/torch.h>

#include "core/error.h"
#include "core/philox.h"

namespace baichuan {

namespace {

// Of a torch.Generator that nobody has seeded.
constexpr std::uint64_t kTorchDefaultSeed = 67280421310721;

std::vector<std::int64_t> draw_permutation(std::int64_t rows, at::Generator& generator) {
  const auto permutation = at::randperm(rows, generator, at::TensorOptions().dtype(at::kLong));
  const auto* const first = permutation.const_data_ptr<std::int64_t>();
  return {first, first + rows};
}

// accelerate 0.21 gives the sampler a generator with PyTorch's default seed, the same on all ranks; the sampler draws a
// second permutation an epoch, of which it takes nothing.
std::vector<std::int64_t> order_of_ranks_2023(std::int64_t rows, std::int64_t epoch) {
  auto generator = at::detail::createCPUGenerator(kTorchDefaultSeed);
  for (std::int64_t unused = 0; unused < 2 * epoch; ++unused) draw_permutation(rows, generator);
  return draw_permutation(rows, generator);
}

std::int64_t draw_int64(at::Generator& generator) {
  return at::empty({}, at::kLong).random_(generator).item<std::int64_t>();
}

}  // namespace

DataOrder::DataOrder(DataOrderMode mode, std::int64_t rows, std::uint64_t seed, std::int64_t ranks)
    : mode_(mode), rows_(rows), seed_(seed), ranks_(ranks), generator_(at::detail::createCPUGenerator(seed)) {}

std::vector<std::int64_t> DataOrder::order(std::int64_t epoch) {
  if (mode_ == DataOrderMode::kCounter) return random_order(rows_, seed_, static_cast<std::uint64_t>(epoch));
  std::vector<std::int64_t> rows(static_cast<std::size_t>(rows_));
  std::iota(rows.begin(), rows.end(), 0);
  if (mode_ == DataOrderMode::kSequential) return rows;
  if (ranks_ > 1) return order_of_ranks_2023(rows_, epoch);
  if (epoch != epoch_) {
    draw_int64(generator_);  // the DataLoader's base seed, which nothing uses
    epoch_seed_ = draw_int64(generator_);
    epoch_ = epoch;
  }
  auto sampler = at::detail::createCPUGenerator(static_cast<std::uint64_t>(epoch_seed_));
  return draw_permutation(rows_, sampler);
}

void DataOrder::on_evaluation() {
  if (mode_ == DataOrderMode::kTorch2023) draw_int64(generator_);
}

std::vector<std::uint8_t> DataOrder::state() const {
  const auto generator_state = generator_.get_state();
  const std::int64_t header[2] = {epoch_, epoch_seed_};
  std::vector<std::uint8_t> bytes(sizeof header + static_cast<std::size_t>(generator_state.numel()));
  std::memcpy(bytes.data(), header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, generator_state.const_data_ptr<std::uint8_t>(),
              bytes.size() - sizeof header);
  return bytes;
}

void DataOrder::restore(const std::vector<std::uint8_t>& state) {
  std::int64_t header[2];
  const auto expected = sizeof header + static_cast<std::size_t>(generator_.get_state().numel());
  if (state.size() != expected)
    throw CheckpointError("expected {} bytes of data-order state; found {}; the checkpoint is of another version",
                          expected, state.size());
  std::memcpy(header, state.data(), sizeof header);
  epoch_ = header[0];
  epoch_seed_ = header[1];
  auto generator_state = at::empty({static_cast<std::int64_t>(state.size() - sizeof header)}, at::kByte);
  std::memcpy(generator_state.mutable_data_ptr<std::uint8_t>(), state.data() + sizeof header,
              state.size() - sizeof header);
  generator_.set_state(generator_state);
}

}  // namespace baichuan
