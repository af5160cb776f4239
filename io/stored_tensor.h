// Where the elements of a tensor lie in a file: what both formats come down to.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/tensor_spec.h"

namespace baichuan {

struct StoredTensor {
  TensorSpec spec;
  std::uint64_t offset = 0;           // of the first element, in bytes from the start of the file
  std::vector<std::int64_t> strides;  // in elements; empty when the elements are contiguous, row-major
  std::int64_t span = 0;              // elements from the first to the last one in the file, both counted
};

struct StoredFile {
  std::vector<StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
};

}  // namespace baichuan
