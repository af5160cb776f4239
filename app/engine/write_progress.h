// What a command that writes for minutes says meanwhile.
#pragma once

#include <cstdint>
#include <functional>

namespace baichuan {

// Takes bytes written and bytes in all; logs them every ten seconds. False once a signal has asked the program to stop.
std::function<bool(std::int64_t written, std::int64_t total)> make_write_progress();

}  // namespace baichuan
