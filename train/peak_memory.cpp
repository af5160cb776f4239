#include "train/peak_memory.h"

#include <fstream>
#include <string>

#include <c10/core/CachingDeviceAllocator.h>

namespace baichuan {

std::optional<std::int64_t> peak_memory_bytes(c10::Device device) {
  if (!device.is_cpu()) {
    constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return c10::getDeviceAllocator(device.type())->getDeviceStats(device.index()).allocated_bytes[kAll].peak;
  }
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  return {};
}

}  // namespace baichuan
