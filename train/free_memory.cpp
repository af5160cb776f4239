#include "train/free_memory.h"

#include <algorithm>
#include <fstream>
#include <string>

#include <c10/core/CachingDeviceAllocator.h>

#include "kernels/device.h"

namespace baichuan {

namespace {

constexpr std::int64_t kUnknown = std::int64_t{1} << 60;
// Of a GPU: the context, and the workspaces of cuBLAS and cuDNN.
constexpr std::int64_t kGpuReserve = std::int64_t{1} << 30;

std::int64_t available_memory_bytes() {
  std::ifstream memory("/proc/meminfo");
  for (std::string line; std::getline(memory, line);)
    if (line.starts_with("MemAvailable:")) return std::stoll(line.substr(13)) * 1024;
  return kUnknown;
}

// Control groups, version 2; "max" is no number.
std::int64_t left_of_control_group() {
  std::int64_t limit = 0;
  std::int64_t used = 0;
  if (!(std::ifstream("/sys/fs/cgroup/memory.max") >> limit)) return kUnknown;
  if (!(std::ifstream("/sys/fs/cgroup/memory.current") >> used)) return kUnknown;
  return std::max<std::int64_t>(0, limit - used);
}

std::int64_t free_gpu_bytes(c10::Device device) {
  constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto held = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index()).reserved_bytes[kAll].current;
  for (const auto& gpu : probe_cuda().devices)
    if (gpu.index == device.index()) return std::max<std::int64_t>(0, gpu.memory_bytes - kGpuReserve - held);
  return kUnknown;
}

}  // namespace

std::int64_t free_memory_bytes(c10::Device device) {
  if (!device.is_cpu()) return free_gpu_bytes(device);
  return std::min(available_memory_bytes(), left_of_control_group());
}

}  // namespace baichuan
