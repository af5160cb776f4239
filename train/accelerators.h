// The devices that `baichuan plan` knows: their memory, what is taken of it before a tensor is allocated, and their
// speed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace baichuan {

struct Accelerator {
  std::string_view name;   // of --gpu
  std::string_view title;  // for people
  std::int64_t memory_bytes = 0;
  double half_flops = 0;        // peak of 16-bit matrix products, per second
  double float_flops = 0;       // peak in float32
  double efficiency = 0;        // of the peak, over a whole training step
  double memory_bandwidth = 0;  // bytes per second
  double link_bandwidth = 0;    // bytes per second that a rank sends in a ring

  bool is_gpu() const { return name != "cpu"; }
};

// "a100-40gb", "a100-80gb", "h100" or "h200"; null for anything else.
const Accelerator* find_gpu(std::string_view name);

// The kind of this machine's first GPU; null when it has none or the kind is not known.
const Accelerator* gpu_of_this_machine();

// The processors of this machine, shared by `ranks` processes: each has its part of the memory and of the cores.
// Products in float16 are several times slower than in bfloat16.
Accelerator this_machine(std::int64_t ranks, bool float16);

// What runtime libraries take of a rank's memory before and beside all tensors: the context, the communicator, the
// work space of matrix products.
std::int64_t runtime_bytes(const Accelerator& device, std::int64_t ranks);
// What an allocator loses to rounding and fragments, of `allocated` bytes.
std::int64_t fragmentation_bytes(const Accelerator& device, std::int64_t allocated);
// The most that tensors may take: with it, runtime and fragments fill `device.memory_bytes`.
std::int64_t allocation_budget(const Accelerator& device, std::int64_t ranks);

// Bytes of this machine's memory: the kernel's total, or the control group's limit where that is lower.
std::int64_t host_memory_bytes();

}  // namespace baichuan
