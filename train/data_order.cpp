#include "train/data_order.h"

#include <cstring>
#include <numeric>

#include <torch/torch.h>

#include "core/error.h"
#include "core/philox.h"

namespace baichuan {

namespace {

std::int64_t draw_int64(at::Generator& generator) {
  return at::empty({}, at::kLong).random_(generator).item<std::int64_t>();
}

}  // namespace

DataOrder::DataOrder(DataOrderMode mode, std::int64_t rows, std::uint64_t seed)
    : mode_(mode), rows_(rows), seed_(seed), generator_(at::detail::createCPUGenerator(seed)) {}

std::vector<std::int64_t> DataOrder::order(std::int64_t epoch) {
  if (mode_ == DataOrderMode::kCounter) return random_order(rows_, seed_, static_cast<std::uint64_t>(epoch));
  std::vector<std::int64_t> rows(static_cast<std::size_t>(rows_));
  std::iota(rows.begin(), rows.end(), 0);
  if (mode_ == DataOrderMode::kSequential) return rows;
  if (epoch != epoch_) {
    draw_int64(generator_);  // the DataLoader's base seed, which nothing uses
    epoch_seed_ = draw_int64(generator_);
    epoch_ = epoch;
  }
  auto sampler = at::detail::createCPUGenerator(static_cast<std::uint64_t>(epoch_seed_));
  const auto permutation = at::randperm(rows_, sampler, at::TensorOptions().dtype(at::kLong));
  std::memcpy(rows.data(), permutation.const_data_ptr<std::int64_t>(), rows.size() * sizeof(std::int64_t));
  return rows;
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
