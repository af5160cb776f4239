#include "distributed/connect.h"

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "core/error.h"
#include "core/log.h"
#include "distributed/c10d_group.h"
#include "distributed/nccl_backend.h"

namespace baichuan {

namespace {

// Of all ranks, from the first to the last: models load after this, not before.
constexpr std::chrono::minutes kMeetingTime(5);

c10::intrusive_ptr<c10d::Store> open_store(const RankEnvironment& environment) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(environment.store_port);
  options.isServer = environment.hosts_store();
  options.waitWorkers = false;
  options.timeout = kMeetingTime;
  if (options.isServer && environment.store_fd >= 0) options.masterListenFd = environment.store_fd;
  // The libuv server cannot be told to listen on the loopback address alone unless it is handed a socket.
  try {
    const auto store = c10::make_intrusive<c10d::TCPStore>(environment.store_host, options);
    // Keys of an attempt before must not be read by this one.
    const std::string attempt = fmt::format("baichuan/{}/{}", environment.run_id, environment.restart_count);
    return c10::make_intrusive<c10d::PrefixStore>(attempt, store);
  } catch (const c10::Error& error) {
    throw MachineError(
        "rank {}: expected the ranks to meet at {}:{}; found: {}; check that rank 0 was started and that "
        "the host can be reached",
        environment.rank, environment.store_host, environment.store_port, error.what_without_backtrace());
  }
}

void say_still_waiting(const std::string& what, const std::string& ranks) {
  log::warning("still waiting for rank {} to reach {}", ranks, what);
}

}  // namespace

std::unique_ptr<ProcessGroup> connect(const RankEnvironment& environment, const ConnectOptions& options) {
  if (!environment.distributed()) return make_solo_group();
  const auto store = open_store(environment);
  const auto backend = options.device.is_cuda() ? make_nccl_backend(store, environment.rank, environment.world_size,
                                                                    options.device, 2 * options.timeout)
                                                : make_gloo_backend(store, environment.rank, environment.world_size,
                                                                    environment.store_host, 2 * options.timeout);
  // The monitor speaks first: it knows which rank hangs, a collective does not.
  C10dGroupOptions group_options;
  group_options.timeout = options.timeout;
  group_options.still_waiting = say_still_waiting;
  group_options.on_stall = options.on_stall;
  return make_c10d_group(backend, store, group_options);
}

}  // namespace baichuan
