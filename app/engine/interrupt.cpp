#include "app/engine/interrupt.h"

#include <csignal>
#include <ctime>

#include <unistd.h>

#include "app/repeated_signal.h"

namespace baichuan {

namespace {

std::atomic<int> received{0};
std::atomic<long> received_at_ms{0};

long now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Async-signal-safe: atomics, clock_gettime and _exit only.
extern "C" void on_signal(int signal) {
  const long now = now_ms();
  int none = 0;
  if (received.compare_exchange_strong(none, signal)) {
    received_at_ms = now;
  } else if (now - received_at_ms > kSameSignal.count()) {
    ::_exit(128 + signal);
  }
}

}  // namespace

void install_interrupt_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

const std::atomic<int>& interrupt_signal() {
  return received;
}

void clear_interrupt() {
  received = 0;
}

int interrupt_exit_status(int signal) {
  return 128 + signal;
}

}  // namespace baichuan
