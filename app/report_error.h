#pragma once

#include <exception>

namespace baichuan {

// Prints one line on stderr and returns the exit status that goes with the error: 2 for UsageError, else 1.
int report_error(const std::exception& error);

}  // namespace baichuan
