// Ranks of a test as threads of one process, over Gloo on the loopback interface.
#pragma once

#include <cstdint>
#include <functional>

#include "distributed/process_group.h"

namespace baichuan {

// Runs `body` once a rank, each in a thread of its own, and rethrows what the lowest rank has thrown.
void run_ranks(std::int64_t ranks, const std::function<void(ProcessGroup& group)>& body);

}  // namespace baichuan
