#pragma once

#include <cstdint>

#include <c10/core/Device.h>

namespace baichuan {

// Bytes that this process may still take: of a CPU what the kernel would hand out without swapping, or what is left of
// the control group's limit if that is less; of a GPU its memory less what LibTorch's allocator holds. A large number
// where nobody says.
std::int64_t free_memory_bytes(c10::Device device);

}  // namespace baichuan
