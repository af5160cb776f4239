// Ranks of a test as threads of one process, over Gloo on the loopback interface.
#pragma once

#include <cstdint>
#include <functional>

#include "distributed/process_group.h"

namespace baichuan {

// Runs `body` once a rank, each in a thread of its own, and rethrows what the lowest rank has thrown.
// One rank has no backend.
void run_ranks(std::int64_t ranks, const std::function<void(ProcessGroup& group)>& body);

// One rank that has a backend all the same: what it exchanges, it exchanges with itself.
void run_alone_with_backend(const std::function<void(ProcessGroup& group)>& body);

}  // namespace baichuan
