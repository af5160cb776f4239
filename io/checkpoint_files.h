// Which files of a directory hold the weights.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace baichuan {

namespace fs = std::filesystem;

struct CheckpointFiles {
  std::vector<fs::path> files;                    // in reading order
  fs::path index;                                 // empty when there is none
  std::map<std::string, std::string> weight_map;  // of the index: tensor -> file name
};

// The order of preference is that of transformers: model.safetensors, its index, pytorch_model.bin, its index; then
// other *.safetensors, other pytorch_model*.bin. Throws CheckpointError when nothing or not all is there.
CheckpointFiles find_checkpoint_files(const fs::path& directory_or_file);

}  // namespace baichuan
