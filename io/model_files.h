// What stands beside the weights in a Hugging Face directory.
#pragma once

#include <filesystem>
#include <vector>

namespace baichuan {

namespace fs = std::filesystem;

// Tokenizer, generation settings, remote code (*.py), licences and notices; not the weights, config.json or README.
std::vector<fs::path> model_side_files(const fs::path& directory);

// Copies them, each whole or not at all; files that `to` already has are replaced. Returns the names copied.
std::vector<fs::path> copy_model_side_files(const fs::path& from, const fs::path& to);

}  // namespace baichuan
