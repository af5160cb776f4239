// A process group over PyTorch's c10d: Gloo between CPUs, NCCL between GPUs, a TCPStore to meet at.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <c10/util/intrusive_ptr.h>

#include "distributed/process_group.h"

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace baichuan {

struct C10dGroupOptions {
  // How long a rank may keep the others waiting on the store, and inside a collective.
  std::chrono::milliseconds timeout = std::chrono::minutes(30);
  // Called about once in ten seconds while others are waited for, with what is waited for and for whom.
  std::function<void(const std::string& what, const std::string& ranks)> still_waiting;
  // Called on another thread when no rank has moved for `timeout`, with a message that names the one that hangs;
  // expected to end the process. Empty: nobody watches.
  std::function<void(const std::string& message)> on_stall;
};

// `store` holds the keys of this attempt alone (a PrefixStore): a restarted run must not read those of the one before.
std::unique_ptr<ProcessGroup> make_c10d_group(c10::intrusive_ptr<c10d::Backend> backend,
                                              c10::intrusive_ptr<c10d::Store> store,
                                              const C10dGroupOptions& options);

// Gloo on the loopback interface (`loopback`) or on the one that the host's name resolves to; GLOO_SOCKET_IFNAME names
// another. Throws MachineError when a rank does not come.
c10::intrusive_ptr<c10d::Backend> make_gloo_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    std::int64_t rank,
                                                    std::int64_t size,
                                                    const std::string& store_host,
                                                    std::chrono::milliseconds timeout);

}  // namespace baichuan
