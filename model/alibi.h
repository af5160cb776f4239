// ALiBi: attention scores of head h get slope[h] * (j - i) for query i and key j. Softmax does not see a constant
// added to a row, so any slope[h] * (j - r) with one r a row is the same: no T x T bias is ever needed.
// Source: Press et al. 2021, "Train short, test long".
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace baichuan {

// 2^(-8(i+1)/n) for n a power of two; else those of the next smaller power p, then every other one of 2p. Heads must
// be sliced out of the full list: the slopes of a part of the heads are not those of a smaller model.
std::vector<double> alibi_slopes(int64_t num_heads);
// The same as [H] float32.
at::Tensor alibi_slope_tensor(int64_t num_heads, at::Device device);

// slope[h] * (m - span) for m in 0 … 2 * span - 1, [H, 2 * span] float32: every bias row is a slice of it.
at::Tensor alibi_table(const at::Tensor& slopes, int64_t span);
// slope[h] * (j - reference) for keys j in [first, first + count), a [1, H, 1, count] view of the table. The reference
// must be within `span` of the keys; float32 keeps 2e-5 of a score where they are within a few hundred.
at::Tensor alibi_row(const at::Tensor& table, int64_t first, int64_t count, int64_t reference);

// ALiBi inside the dot product, for attention kernels that take no bias: queries and keys get kFoldColumns more
// columns, whose product is slope[h] * sqrt(K) * (j - reference) once the kernel has scaled by 1 / sqrt(K). Exact to
// float32 although the columns are bfloat16 or float16: positions are 256 a + b, both short, and the slope is split
// into a leading and a trailing part.
constexpr int64_t kFoldColumns = 8;
// [H, kFoldColumns] of `dtype`; the same for every query.
at::Tensor fold_query_columns(const at::Tensor& slopes, int64_t head_dim, at::ScalarType dtype);
// [count, kFoldColumns] of `dtype` for keys first … first + count - 1; |j - reference| must stay below 65,536.
at::Tensor fold_key_columns(int64_t first, int64_t count, int64_t reference, const at::TensorOptions& options);

}  // namespace baichuan
