#include "train/accelerators.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

namespace baichuan {

namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

constexpr std::int64_t gib(double count) {
  return static_cast<std::int64_t>(count * kGiB);
}

// Memory as the driver reports it. Peaks are NVIDIA's for dense products (float32 without TF32: products keep all
// their bits here). Efficiencies are those of published runs of 7B and 13B models (llm-foundry, 2,048 tokens: 44 % on
// A100-40, 60 % on A100-80, 40 % on H100; the H200 is the same chip with faster memory). Links: NVLink 3 and 4, the
// bus bandwidth of large collectives.
constexpr std::array kGpus{
    Accelerator{"a100-40gb", "A100-40GB", gib(39.39), 312e12, 19.5e12, 0.44, 1.4e12, 230e9},
    Accelerator{"a100-80gb", "A100-80GB", gib(79.15), 312e12, 19.5e12, 0.57, 1.8e12, 230e9},
    Accelerator{"h100", "H100-80GB", gib(79.11), 989e12, 67e12, 0.41, 2.9e12, 360e9},
    Accelerator{"h200", "H200-141GB", gib(139.8), 989e12, 67e12, 0.44, 4.2e12, 360e9},
};

// A CUDA context with the kernels of LibTorch; NCCL's channels and buffers; cuBLAS's and the attention kernels'
// work space.
constexpr std::int64_t kGpuContextBytes = 500'000'000;
constexpr std::int64_t kNcclBytes = 1'000'000'000;
constexpr std::int64_t kGpuWorkspaceBytes = 100'000'000;
constexpr double kGpuFragmentation = 0.04;

// LibTorch's own tables and threads; holes in the heap, oneDNN's repacked weights and scratch. From the anonymous
// memory of ten runs of 80-million-parameter models (full and LoRA, both widths, 128 to 2,048 tokens).
constexpr std::int64_t kCpuRuntimeBytes = 100'000'000;
constexpr double kCpuFragmentation = 0.045;

// Of one core with AVX-512: products in bfloat16 and float32 of large matrices, and the share of them in a whole step.
constexpr double kCoreHalfFlops = 178e9;
constexpr double kCoreFloatFlops = 83e9;
constexpr double kCoreFloat16Slowdown = 9;  // no float16 products in AVX-512 BF16
constexpr double kCpuEfficiency = 0.5;
constexpr double kCpuMemoryBandwidth = 20e9;
constexpr double kLoopbackBandwidth = 1.5e9;

std::int64_t memory_total_bytes() {
  std::ifstream memory("/proc/meminfo");
  for (std::string line; std::getline(memory, line);)
    if (line.starts_with("MemTotal:")) return std::stoll(line.substr(9)) * 1024;
  return 0;
}

std::optional<std::int64_t> control_group_limit_bytes() {
  for (const char* const path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream limit(path);
    // "max" stands for none; so does a number beyond any memory.
    if (std::int64_t bytes = 0; limit >> bytes && bytes < (std::int64_t{1} << 50)) return bytes;
  }
  return {};
}

}  // namespace

const Accelerator* find_gpu(std::string_view name) {
  const auto found = std::find_if(kGpus.begin(), kGpus.end(), [&](const Accelerator& gpu) { return gpu.name == name; });
  return found == kGpus.end() ? nullptr : &*found;
}

std::int64_t host_memory_bytes() {
  const std::int64_t total = memory_total_bytes();
  return std::min(total, control_group_limit_bytes().value_or(total));
}

const Accelerator* gpu_of_this_machine() {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", none)) {
    std::ifstream information(entry.path() / "information");
    for (std::string line; std::getline(information, line);) {
      if (!line.starts_with("Model:")) continue;
      const auto has = [&](const char* word) { return line.find(word) != std::string::npos; };
      if (has("H200")) return find_gpu("h200");
      if (has("H100")) return find_gpu("h100");
      if (has("A100")) return find_gpu(has("40GB") ? "a100-40gb" : "a100-80gb");
    }
  }
  return nullptr;
}

Accelerator this_machine(std::int64_t ranks, bool float16) {
  const double cores = std::max(1U, std::thread::hardware_concurrency());
  const double share = 1.0 / static_cast<double>(ranks);
  Accelerator cpu{"cpu", "this machine's processors"};
  cpu.memory_bytes = host_memory_bytes() / ranks;
  cpu.half_flops = kCoreHalfFlops * cores * share / (float16 ? kCoreFloat16Slowdown : 1);
  cpu.float_flops = kCoreFloatFlops * cores * share;
  cpu.efficiency = kCpuEfficiency;
  cpu.memory_bandwidth = kCpuMemoryBandwidth * share;
  cpu.link_bandwidth = kLoopbackBandwidth * share;
  return cpu;
}

std::int64_t runtime_bytes(const Accelerator& device, std::int64_t ranks) {
  if (!device.is_gpu()) return kCpuRuntimeBytes;
  return kGpuContextBytes + kGpuWorkspaceBytes + (ranks > 1 ? kNcclBytes : 0);
}

std::int64_t fragmentation_bytes(const Accelerator& device, std::int64_t allocated) {
  return std::llround((device.is_gpu() ? kGpuFragmentation : kCpuFragmentation) * static_cast<double>(allocated));
}

std::int64_t allocation_budget(const Accelerator& device, std::int64_t ranks) {
  const double share = 1 + (device.is_gpu() ? kGpuFragmentation : kCpuFragmentation);
  return static_cast<std::int64_t>(static_cast<double>(device.memory_bytes - runtime_bytes(device, ranks)) / share);
}

}  // namespace baichuan
