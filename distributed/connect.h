// Meeting the other ranks of a run.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <c10/core/Device.h>

#include "distributed/process_group.h"
#include "distributed/rank_environment.h"

namespace baichuan {

struct ConnectOptions {
  c10::Device device = c10::Device(c10::kCPU);  // NCCL for CUDA, Gloo for the CPU
  // Within which every rank has to move on.
  std::chrono::milliseconds timeout = std::chrono::minutes(30);
  // See C10dGroupOptions.
  std::function<void(const std::string& message)> on_stall;
};

// A solo group where there is one rank. Throws MachineError when the ranks do not come together.
std::unique_ptr<ProcessGroup> connect(const RankEnvironment& environment, const ConnectOptions& options);

}  // namespace baichuan
