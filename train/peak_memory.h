#pragma once

#include <cstdint>
#include <optional>

#include <c10/core/Device.h>

namespace baichuan {

// The largest resident set of this process so far, as the kernel counts it (VmHWM), or of a GPU the most that
// LibTorch's allocator has handed out at once; empty where nobody says.
std::optional<std::int64_t> peak_memory_bytes(c10::Device device = c10::Device(c10::kCPU));

}  // namespace baichuan
