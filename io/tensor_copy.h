// Moves stored elements into tensors: in pieces, on all threads, converting on the way.
#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "io/input_file.h"
#include "io/stored_tensor.h"

namespace baichuan {

struct TensorCopy {
  const InputFile* file = nullptr;  // borrowed during the call
  StoredTensor source;
  at::Tensor destination;  // of the source's shape; any dtype, device and strides
};

// Memory besides the destinations: at most 8 MB a thread. Threads: at::get_num_threads().
void copy_tensors(std::span<const TensorCopy> copies);

// Rows [first, first + count) of the first dimension.
StoredTensor stored_rows(const StoredTensor& tensor, std::int64_t first, std::int64_t count);

}  // namespace baichuan
