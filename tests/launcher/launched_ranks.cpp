#include "tests/launcher/launched_ranks.h"

#include <chrono>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/report_error.h"
#include "core/files.h"

namespace baichuan {

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool wait_until(double seconds, const std::function<bool()>& condition) {
  for (const double end = now() + seconds; now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

// In the launcher's process, as main() does.
[[noreturn]] void run_launcher(const SupervisedRun& run, const fs::path& err) {
  const int file = ::open(err.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::dup2(file, STDERR_FILENO);
  // A launcher that is killed leaves its directory behind.
  ::setenv("TMPDIR", err.parent_path().c_str(), /*overwrite=*/0);
  int status = 0;
  try {
    status = supervise_ranks(run);
  } catch (const std::exception& error) {
    status = report_error(error);
  }
  std::fflush(stderr);
  ::_exit(status);
}

}  // namespace

LaunchedRanks::LaunchedRanks(const std::string& script, std::int64_t ranks, std::int64_t max_restarts) {
  run_.command.words = {"/bin/sh", "-c", script};
  run_.command.environment["D"] = scratch_.path().string();
  run_.ranks = ranks;
  run_.max_restarts = max_restarts;
  run_.after_failure = [] { return Aftermath{"go on somehow", false}; };
  run_.grace = std::chrono::milliseconds(300);
}

LaunchedRanks::~LaunchedRanks() {
  if (launcher_ > 0) {
    ::kill(launcher_, SIGKILL);
    ::waitpid(launcher_, nullptr, 0);
  }
  if (terminal_ >= 0) ::close(terminal_);
}

std::string LaunchedRanks::file(const std::string& name) const {
  return fs::exists(scratch_ / name) ? read_file(scratch_ / name) : std::string();
}

void LaunchedRanks::start(bool on_terminal) {
  started_ = now();
  launcher_ = on_terminal ? ::forkpty(&terminal_, nullptr, nullptr, nullptr) : ::fork();
  if (launcher_ < 0) throw std::runtime_error("fork failed");
  if (launcher_ == 0) run_launcher(run_, scratch_ / "err");
}

void LaunchedRanks::send(int signal) const {
  ::kill(launcher_, signal);
}

void LaunchedRanks::type(std::string_view keys) const {
  if (::write(terminal_, keys.data(), keys.size()) != static_cast<ssize_t>(keys.size()))
    throw std::runtime_error("the terminal took no keys");
}

bool LaunchedRanks::wait_for_files(const std::string& name, std::int64_t count) const {
  return wait_until(10, [&] {
    for (std::int64_t rank = 0; rank < count; ++rank)
      if (!fs::exists(scratch_ / fmt::format("{}.{}", name, rank))) return false;
    return true;
  });
}

int LaunchedRanks::wait() {
  int status = 0;
  if (!wait_until(20, [&] { return ::waitpid(launcher_, &status, WNOHANG) == launcher_; })) return -1;
  seconds_ = now() - started_;
  launcher_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string LaunchedRanks::err() const {
  return file("err");
}

// The ranks and their children carry $D in their environment, which the launcher itself does not.
std::vector<pid_t> LaunchedRanks::processes() const {
  const std::string mark = "D=" + scratch_.path().string();
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    try {
      if (pid > 0 && read_file(entry.path() / "environ").find(mark) != std::string::npos) found.push_back(pid);
    } catch (const std::exception&) {  // it has ended meanwhile, or is somebody else's
    }
  }
  return found;
}

std::vector<pid_t> LaunchedRanks::left() const {
  wait_until(2, [this] { return processes().empty(); });
  return processes();
}

}  // namespace baichuan
