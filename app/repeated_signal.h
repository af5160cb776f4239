#pragma once

#include <chrono>

namespace baichuan {

// A signal that comes twice within this time is one: sent to the launcher and to the process group together, or
// forwarded by a launcher to ranks that have it already. A later one is the second, which stops at once.
inline constexpr std::chrono::milliseconds kSameSignal{300};

}  // namespace baichuan
