// The one file that sees gloo's headers (libgloo-dev); its code is inside LibTorch, the distribution's library must not
// be linked beside it.
#include <cstdlib>

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "core/error.h"
#include "distributed/c10d_group.h"

namespace baichuan {

namespace {

std::shared_ptr<::gloo::transport::Device> choose_device(bool loopback) {
  using Gloo = c10d::ProcessGroupGloo;
  if (const char* const name = std::getenv("GLOO_SOCKET_IFNAME"); name != nullptr && *name != '\0')
    return Gloo::createDeviceForInterface(name);
  return loopback ? Gloo::createDeviceForHostname("127.0.0.1") : Gloo::createDefaultDevice();
}

}  // namespace

c10::intrusive_ptr<c10d::Backend> make_gloo_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    std::int64_t rank,
                                                    std::int64_t size,
                                                    bool loopback,
                                                    std::chrono::milliseconds timeout) {
  try {
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(choose_device(loopback));
    return c10::make_intrusive<c10d::ProcessGroupGloo>(store, static_cast<int>(rank), static_cast<int>(size), options);
  } catch (const c10::Error& error) {
    throw MachineError(
        "rank {}: expected to connect to all {} ranks; found: {}; check that every rank was started and that the hosts "
        "reach one another (GLOO_SOCKET_IFNAME names the network interface)",
        rank, size, error.what_without_backtrace());
  }
}

}  // namespace baichuan
