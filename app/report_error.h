#pragma once

#include <exception>
#include <string_view>

namespace baichuan {

// Prints one line on stderr, and below it the trace as it is, and returns the exit status that goes with the error:
// 2 for UsageError, else 1.
int report_error(const std::exception& error, std::string_view trace = {});

}  // namespace baichuan
