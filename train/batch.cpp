#include "train/batch.h"

#include <algorithm>

#include <torch/torch.h>

namespace baichuan {

Batch make_batch(std::span<const BatchRow> rows, std::int64_t pad_id, at::Device device) {
  std::size_t longest = 1;
  for (const auto& row : rows) longest = std::max(longest, row.ids.size());
  const auto count = static_cast<std::int64_t>(rows.size());
  const auto length = static_cast<std::int64_t>(longest);
  Batch batch;
  batch.ids = at::full({count, length}, pad_id, at::kLong);
  batch.targets = at::full({count, length}, kIgnoredLabel, at::kLong);
  batch.sample_ids = at::empty({count}, at::kLong);
  auto* const ids = batch.ids.mutable_data_ptr<std::int64_t>();
  auto* const targets = batch.targets.mutable_data_ptr<std::int64_t>();
  for (std::int64_t r = 0; r < count; ++r) {
    const auto& row = rows[static_cast<std::size_t>(r)];
    std::copy(row.ids.begin(), row.ids.end(), ids + r * length);
    for (std::size_t i = 1; i < row.labels.size(); ++i) {
      targets[r * length + static_cast<std::int64_t>(i) - 1] = row.labels[i];
      batch.target_tokens += row.labels[i] != kIgnoredLabel;
    }
    batch.sample_ids.mutable_data_ptr<std::int64_t>()[r] = row.sample_id;
    batch.tokens += static_cast<std::int64_t>(row.ids.size());
  }
  batch.ids = batch.ids.to(device);
  batch.targets = batch.targets.to(device);
  return batch;
}

}  // namespace baichuan
