// What tests ask of the processes of a run that goes on.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace baichuan {

// Looks for up to a minute.
bool wait_until(const std::function<bool()>& holds);

// Processes whose command line holds the text.
std::vector<pid_t> processes_naming(const std::string& text);

}  // namespace baichuan
