// A run of the built program that goes on while a test looks at it.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "tests/cli/program.h"

namespace baichuan {

class RunningProgram {
 public:
  // Standard error goes to `err`.
  RunningProgram(const std::vector<std::string>& words, const RunSetup& setup, const std::filesystem::path& err);
  ~RunningProgram();  // kills it
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  pid_t pid() const { return pid_; }
  // Children, in the order in which they were started: rank 0 first.
  std::vector<pid_t> ranks() const;
  // Exit status; 128 + signal.
  int wait();

 private:
  pid_t pid_ = -1;
};

// Looks for up to a minute.
bool wait_until(const std::function<bool()>& holds);

// Processes whose command line holds the text.
std::vector<pid_t> processes_naming(const std::string& text);

}  // namespace baichuan
