// The one file that sees gloo's headers (libgloo-dev); its code is inside LibTorch, the distribution's library must not
// be linked beside it.
#include <cstdlib>
#include <optional>

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "core/error.h"
#include "distributed/c10d_group.h"

namespace baichuan {

namespace {

constexpr std::chrono::minutes kConnectTime(5);

// This host's address on the route to `host`, as numbers; nothing is sent.
std::optional<std::string> address_towards(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), "9", &hints, &found) != 0) return {};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, ::freeaddrinfo);
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    const int fd = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    sockaddr_storage own{};
    socklen_t length = sizeof own;
    char text[NI_MAXHOST];
    const bool known =
        ::connect(fd, at->ai_addr, at->ai_addrlen) == 0 &&
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &length) == 0 &&
        ::getnameinfo(reinterpret_cast<sockaddr*>(&own), length, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0;
    ::close(fd);
    if (known) return text;
  }
  return {};
}

std::shared_ptr<::gloo::transport::Device> choose_device(const std::string& store_host) {
  using Gloo = c10d::ProcessGroupGloo;
  if (const char* const name = std::getenv("GLOO_SOCKET_IFNAME"); name != nullptr && *name != '\0')
    return Gloo::createDeviceForInterface(name);
  const auto address = address_towards(store_host);
  return address ? Gloo::createDeviceForHostname(*address) : Gloo::createDefaultDevice();
}

}  // namespace

c10::intrusive_ptr<c10d::Backend> make_gloo_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    std::int64_t rank,
                                                    std::int64_t size,
                                                    const std::string& store_host,
                                                    std::chrono::milliseconds timeout) {
  try {
    auto options = c10d::ProcessGroupGloo::Options::create(kConnectTime);
    options->devices.push_back(choose_device(store_host));
    auto backend =
        c10::make_intrusive<c10d::ProcessGroupGloo>(store, static_cast<int>(rank), static_cast<int>(size), options);
    backend->setTimeout(timeout);
    return backend;
  } catch (const c10::Error& error) {
    throw MachineError(
        "rank {}: expected to connect to all {} ranks; found: {}; check that every rank was started and that the hosts "
        "reach one another (GLOO_SOCKET_IFNAME names the network interface)",
        rank, size, error.what_without_backtrace());
  }
}

}  // namespace baichuan
