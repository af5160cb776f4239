#pragma once

#include <exception>

namespace baichuan {

// Prints one line on stderr, writes it to TORCHELASTIC_ERROR_FILE if that is set, and returns the exit status that goes
// with the error: 2 for UsageError, else 1. A rank of our own launcher leaves the printing to it.
int report_error(const std::exception& error);

}  // namespace baichuan
