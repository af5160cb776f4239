#include "app/engine/write_progress.h"

#include <chrono>

#include "app/engine/interrupt.h"
#include "core/log.h"

namespace baichuan {

std::function<bool(std::int64_t written, std::int64_t total)> make_write_progress() {
  using Clock = std::chrono::steady_clock;
  return [reported = Clock::now()](std::int64_t written, std::int64_t total) mutable {
    const auto now = Clock::now();
    if (now - reported > std::chrono::seconds(10)) {
      log::info("{:.1f} of {:.1f} GB written", static_cast<double>(written) * 1e-9, static_cast<double>(total) * 1e-9);
      reported = now;
    }
    return interrupt_signal() == 0;
  };
}

}  // namespace baichuan
