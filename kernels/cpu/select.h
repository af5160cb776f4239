// Which row kernels serve given tensors, and the loop that runs them over all rows.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>

#include <ATen/core/Tensor.h>

#include "kernels/cpu/row_kernels.h"

namespace baichuan::cpu {

// The fused kernels for these tensors, or null where ATen's own operations must do: another device, mixed dtypes, or
// a dtype other than float32, bfloat16 and float16.
const RowKernels* fused_kernels(std::initializer_list<const at::Tensor*> tensors);

// Calls body(first, last) on the threads of ATen's pool; `columns` tells how much work a row is.
void for_rows(std::int64_t rows, std::int64_t columns, const std::function<void(std::int64_t, std::int64_t)>& body);

// The bytes of row `r` of a contiguous matrix with `columns` elements a row.
inline const char* row_of(const at::Tensor& matrix, std::int64_t r, std::int64_t columns) {
  return static_cast<const char*>(matrix.const_data_ptr()) +
         static_cast<std::size_t>(r * columns) * matrix.element_size();
}
inline char* mutable_row_of(const at::Tensor& matrix, std::int64_t r, std::int64_t columns) {
  return static_cast<char*>(matrix.mutable_data_ptr()) + static_cast<std::size_t>(r * columns) * matrix.element_size();
}

}  // namespace baichuan::cpu
