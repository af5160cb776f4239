// A launcher in a process of its own, whose ranks run a shell script.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include "app/rank_supervisor.h"
#include "tests/scratch_directory.h"

namespace baichuan {

class LaunchedRanks {
 public:
  // `script` is run by /bin/sh as every rank, with $RANK and the launcher's other variables, and $D, a directory of the
  // test's own. The grace is 300 ms.
  explicit LaunchedRanks(const std::string& script, std::int64_t ranks = 3, std::int64_t max_restarts = 0);
  ~LaunchedRanks();
  LaunchedRanks(const LaunchedRanks&) = delete;
  LaunchedRanks& operator=(const LaunchedRanks&) = delete;

  SupervisedRun& setup() { return run_; }
  std::filesystem::path path(const std::string& name) const { return scratch_ / name; }
  // What a rank has written to $D/name; empty while there is none.
  std::string file(const std::string& name) const;

  void start(bool on_terminal = false);
  void send(int signal) const;
  void type(std::string_view keys) const;  // on the terminal
  // Waits for `count` files named `name.<rank>` in $D; false after ten seconds.
  bool wait_for_files(const std::string& name, std::int64_t count) const;
  // The exit status (128 + signal if one ended the launcher), after its end; -1 after 20 seconds.
  int wait();
  double seconds() const { return seconds_; }  // from start to end
  std::string err() const;                     // standard error of launcher and ranks
  // Processes of the run, the launcher left out.
  std::vector<pid_t> processes() const;
  // Those that do not end within two seconds: children of ranks are killed with them, but nobody waits for their end.
  std::vector<pid_t> left() const;

 private:
  ScratchDirectory scratch_;
  SupervisedRun run_;
  pid_t launcher_ = -1;
  int terminal_ = -1;
  double started_ = 0;
  double seconds_ = 0;
};

}  // namespace baichuan
