#include "kernels/cpu/select.h"

#include <algorithm>

#include <ATen/Parallel.h>

namespace baichuan::cpu {

const RowKernels* fused_kernels(std::initializer_list<const at::Tensor*> tensors) {
  const at::ScalarType dtype = (*tensors.begin())->scalar_type();
  for (const at::Tensor* tensor : tensors)
    if (!tensor->is_cpu() || tensor->scalar_type() != dtype) return nullptr;
  switch (dtype) {
    case at::kFloat:
      return &row_kernels(best_isa(), Element::kFloat32);
    case at::kBFloat16:
      return &row_kernels(best_isa(), Element::kBFloat16);
    case at::kHalf:
      return &row_kernels(best_isa(), Element::kFloat16);
    default:
      return nullptr;
  }
}

void for_rows(std::int64_t rows, std::int64_t columns, const std::function<void(std::int64_t, std::int64_t)>& body) {
  constexpr std::int64_t kElementsWorthAThread = 16384;
  const std::int64_t grain = std::max<std::int64_t>(1, kElementsWorthAThread / std::max<std::int64_t>(1, columns));
  at::parallel_for(0, rows, grain, [&](std::int64_t first, std::int64_t last) { body(first, last); });
}

}  // namespace baichuan::cpu
