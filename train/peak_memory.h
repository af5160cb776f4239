#pragma once

#include <cstdint>
#include <optional>

namespace baichuan {

// The largest resident set of this process so far, as the kernel counts it (VmHWM); empty where /proc is missing.
std::optional<std::int64_t> peak_memory_bytes();

}  // namespace baichuan
