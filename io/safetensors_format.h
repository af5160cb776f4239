// The header of a .safetensors file: 8 bytes of little-endian length, then JSON {name: {dtype, shape, data_offsets}},
// then the tensors without holes. Format: https://huggingface.co/docs/safetensors
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/input_file.h"
#include "io/stored_tensor.h"

namespace baichuan {

// Every statement of the header is checked against the others and against the size of the file.
StoredFile parse_safetensors(const InputFile& file);

// The header (with its length) of a file that holds `tensors` in this order; padded so that the data is aligned to
// 8 bytes. Tensors are aligned to their element size when wider ones come first.
std::string safetensors_header(const std::vector<TensorSpec>& tensors,
                               const std::map<std::string, std::string>& metadata);

}  // namespace baichuan
