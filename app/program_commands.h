#pragma once

#include <string_view>

#include "app/command.h"

namespace baichuan {

// Runs a command that needs no LibTorch; returns the exit status.
int run_in_program(std::string_view name, const CommandOptions& options, const OptionTable& table);

}  // namespace baichuan
