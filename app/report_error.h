#pragma once

#include <exception>
#include <string_view>

namespace baichuan {

// Prints one line on stderr, and below it the trace as it is; writes the line to TORCHELASTIC_ERROR_FILE if that is
// set. A rank of our own launcher leaves the printing of the line to it. Returns the exit status that goes with the
// error: 2 for UsageError, else 1.
int report_error(const std::exception& error, std::string_view trace = {});

}  // namespace baichuan
