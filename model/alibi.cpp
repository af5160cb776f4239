#include "model/alibi.h"

#include <cmath>

#include <torch/torch.h>

namespace baichuan {

namespace {

void append_slopes(std::vector<double>& slopes, int64_t power_of_two, int64_t first, int64_t step, int64_t count) {
  const double ratio = std::exp2(-8.0 / static_cast<double>(power_of_two));
  for (int64_t i = 0; i < count; ++i) slopes.push_back(std::pow(ratio, static_cast<double>(first + i * step + 1)));
}

}  // namespace

std::vector<double> alibi_slopes(int64_t num_heads) {
  TORCH_CHECK_VALUE(num_heads > 0, "alibi_slopes: expected a positive number of heads, got ", num_heads);
  int64_t power = 1;
  while (2 * power <= num_heads) power *= 2;
  std::vector<double> slopes;
  append_slopes(slopes, power, 0, 1, power);
  append_slopes(slopes, 2 * power, 0, 2, num_heads - power);
  return slopes;
}

at::Tensor alibi_slope_tensor(int64_t num_heads, at::Device device) {
  return torch::tensor(alibi_slopes(num_heads), at::kDouble).to(device, at::kFloat);
}

at::Tensor alibi_table(const at::Tensor& slopes, int64_t span) {
  // In float64, rounded once: the table is right to half a unit of float32.
  const auto distance = at::arange(-span, span, slopes.options().dtype(at::kDouble));
  return (slopes.to(at::kDouble).unsqueeze(1) * distance).to(at::kFloat);
}

at::Tensor alibi_row(const at::Tensor& table, int64_t first, int64_t count, int64_t reference) {
  const int64_t span = table.size(1) / 2;
  return table.narrow(1, span + first - reference, count).unsqueeze(0).unsqueeze(2);
}

at::Tensor fold_query_columns(const at::Tensor& slopes, int64_t head_dim, at::ScalarType dtype) {
  const auto scaled = slopes.to(at::kDouble) * std::sqrt(static_cast<double>(head_dim));
  const auto leading = scaled.to(dtype);
  const auto trailing = (scaled - leading.to(at::kDouble)).to(dtype);
  auto columns = at::zeros({slopes.size(0), kFoldColumns}, slopes.options().dtype(dtype));
  for (int64_t i = 0; i < 2; ++i) {
    columns.select(1, i).copy_(leading);
    columns.select(1, 2 + i).copy_(trailing);
  }
  return columns;
}

at::Tensor fold_key_columns(int64_t first, int64_t count, int64_t reference, const at::TensorOptions& options) {
  // 8 significant bits hold 256 a up to 65,536 and b up to 256.
  const auto j = at::arange(first - reference, first - reference + count, options.dtype(at::kLong));
  const auto low = at::remainder(j, 256);
  const auto high = j - low;
  auto columns = at::zeros({count, kFoldColumns}, options);
  for (int64_t i = 0; i < 2; ++i) {
    columns.select(1, 2 * i).copy_(high);
    columns.select(1, 2 * i + 1).copy_(low);
  }
  return columns;
}

}  // namespace baichuan
