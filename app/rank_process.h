// One rank that our own launcher has started: a process that cannot outlive it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <signal.h>
#include <sys/types.h>

#include "app/descriptor.h"

namespace baichuan {

// How ranks are started.
struct RankCommand {
  std::vector<std::string> words;                  // the program's path and its arguments, the same for every rank
  std::map<std::string, std::string> environment;  // added to the launcher's own
};

class RankProcess {
 public:
  struct Start {
    std::int64_t rank = 0;
    pid_t group = 0;       // process group to join; 0: a new one, named by this process
    int store_fd = -1;     // inherited by rank 0
    sigset_t signal_mask;  // of the new process
    std::filesystem::path error_file;
  };

  // Throws MachineError when no process can be made.
  RankProcess(const RankCommand& command, const Start& start);

  std::int64_t rank() const { return rank_; }
  pid_t pid() const { return pid_; }
  // Where the output of a rank other than 0 arrives; closed (-1) for rank 0, which has the launcher's terminal.
  int output() const { return output_.get(); }

  // Prints what has arrived, each line after "[rank N] "; the last piece too once the rank has ended.
  void forward_output(bool ended);

  // Takes the rank's exit status if it has ended; true the first time.
  bool reap();
  bool running() const { return !wait_status_; }

  // After the end:
  int wait_status() const { return *wait_status_; }
  // Killed by a signal, or ended with a status that is neither 0 nor that of a stop (130, 143).
  bool failed() const;
  // 0, or 128 + signal.
  int exit_status() const;
  // "was killed by signal 9 (SIGKILL)", "ended with status 1".
  std::string end() const;
  std::optional<std::string> reported_error() const;
  // The error it has reported, else the last lines it has printed; empty when nothing is known.
  std::string last_words() const;
  // When the error was reported, else when the end was noticed.
  std::chrono::system_clock::time_point ended_at() const;

 private:
  void take_line(std::string_view line);

  std::int64_t rank_;
  pid_t pid_ = -1;
  Descriptor output_;
  std::string unfinished_line_;
  std::deque<std::string> last_lines_;
  std::filesystem::path error_file_;
  std::optional<int> wait_status_;
  std::chrono::system_clock::time_point noticed_at_;
};

}  // namespace baichuan
