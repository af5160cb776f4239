// Reads the pickle of a state dict without executing anything: a stack machine that knows dictionaries, texts,
// numbers, tuples, lists, storages (by their persistent ids) and the two functions that rebuild a tensor and a
// parameter. Whatever else a pickle names is refused by that name; nothing is imported, called or built.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/tensor_spec.h"

namespace baichuan {

// A tensor as the pickle describes it: a strided view of a storage.
struct PickledTensor {
  TensorSpec spec;
  std::string storage;             // key of the storage: the record data/<key>
  std::int64_t storage_numel = 0;  // elements of the whole storage
  std::int64_t offset = 0;         // of the first element, in elements
  std::vector<std::int64_t> strides;
};

// The tensors of a dictionary {name: tensor}, in its order; other plain values beside them (an epoch, a version) are
// left out. `origin` is the file that messages name. Throws CheckpointError.
std::vector<PickledTensor> unpickle_state_dict(std::string_view pickle, const std::string& origin);

}  // namespace baichuan
