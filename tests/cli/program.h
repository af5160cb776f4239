// Runs the built program as a user does: by its arguments, through pipes or through a terminal of its own.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <sys/types.h>

namespace baichuan {

struct RunResult {
  int status = -1;  // exit status; 128 + signal when a signal ended it
  std::string out;
  std::string err;
};

struct RunSetup {
  std::string input;  // all of standard input
  std::map<std::string, std::string> environment;
  std::filesystem::path out_to;   // standard output goes to this file instead of RunResult::out
  std::filesystem::path program;  // a copy to run instead of the built program
};

// `baichuan ARGUMENTS...`, to its end.
RunResult run_baichuan(const std::vector<std::string>& arguments, const RunSetup& setup = {});

// `baichuan ARGUMENTS...` that goes on while a test looks at it.
class RunningProgram {
 public:
  // Standard error goes to `err`; of the setup only the environment counts.
  RunningProgram(const std::vector<std::string>& arguments, const RunSetup& setup, const std::filesystem::path& err);
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

// `baichuan ARGUMENTS...` on a pseudo-terminal. What it writes to standard output and standard error comes mixed, as
// on a screen.
class TerminalProgram {
 public:
  explicit TerminalProgram(const std::vector<std::string>& arguments,
                           const std::map<std::string, std::string>& environment = {});
  ~TerminalProgram();
  TerminalProgram(const TerminalProgram&) = delete;
  TerminalProgram& operator=(const TerminalProgram&) = delete;

  void type(std::string_view keys);
  void send_signal(int signal);
  // Everything written since the last call, up to and with `text`; what there is after `seconds`.
  std::string read_until(std::string_view text, double seconds = 60);
  // Waits for the end; -1 after `seconds`.
  int wait(double seconds = 60);

 private:
  bool read_more(double seconds);

  pid_t process_ = -1;
  int terminal_ = -1;
  std::string unread_;
};

}  // namespace baichuan
