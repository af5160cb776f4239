#include "train/peak_memory.h"

#include <fstream>
#include <string>

namespace baichuan {

std::optional<std::int64_t> peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  return {};
}

}  // namespace baichuan
