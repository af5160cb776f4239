#pragma once

#include <cstdint>
#include <filesystem>

namespace baichuan {

// Writes a model directory: random weights, the project's own small vocabulary, 5 heads, 2 layers, ALiBi.
void write_tiny_checkpoint(const std::filesystem::path& directory, std::int64_t window);

}  // namespace baichuan
