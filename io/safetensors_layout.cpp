#include "io/safetensors_format.h"
#include "io/shard_layout.h"

namespace baichuan {

SafetensorsLayout::SafetensorsLayout(const std::vector<TensorSpec>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : header_(safetensors_header(tensors, metadata)), file_bytes_(header_.size()) {
  for (const auto& spec : tensors) {
    offsets_.push_back(file_bytes_);
    file_bytes_ += static_cast<std::uint64_t>(spec.nbytes());
  }
}

std::vector<Patch> SafetensorsLayout::patches(const std::vector<std::uint32_t>&) const {
  return {{0, header_}};
}

}  // namespace baichuan
