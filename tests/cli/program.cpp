#include "tests/cli/program.h"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/files.h"
#include "tests/scratch_directory.h"

namespace baichuan {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kProgram = BAICHUAN_BINARY_DIR "/bin/baichuan";

int status_of(int waited) {
  return WIFEXITED(waited) ? WEXITSTATUS(waited) : 128 + WTERMSIG(waited);
}

// In the child: never returns. What this library thread holds is not touched between fork and exec.
[[noreturn]] void execute(const std::vector<std::string>& arguments,
                          const std::map<std::string, std::string>& environment,
                          const char* program = kProgram) {
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv = {const_cast<char*>(program)};
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execv(program, argv.data());
  ::_exit(127);
}

void redirect(const std::filesystem::path& path, int flags, int descriptor) {
  const int opened = ::open(path.c_str(), flags, 0600);
  if (opened < 0 || ::dup2(opened, descriptor) < 0) ::_exit(126);
}

}  // namespace

RunResult run_baichuan(const std::vector<std::string>& arguments, const RunSetup& setup) {
  const ScratchDirectory scratch;
  const bool captured = setup.out_to.empty();
  const auto out = captured ? scratch / "out" : setup.out_to;
  write_file_atomically(scratch / "in", setup.input);
  const pid_t process = ::fork();
  if (process < 0) throw std::runtime_error("fork failed");
  if (process == 0) {
    redirect(scratch / "in", O_RDONLY, STDIN_FILENO);
    redirect(out, captured ? O_WRONLY | O_CREAT : O_WRONLY, STDOUT_FILENO);
    redirect(scratch / "err", O_WRONLY | O_CREAT, STDERR_FILENO);
    execute(arguments, setup.environment, setup.program.empty() ? kProgram : setup.program.c_str());
  }
  int waited = 0;
  ::waitpid(process, &waited, 0);
  return {status_of(waited), captured ? read_file(out) : std::string(), read_file(scratch / "err")};
}

RunningProgram::RunningProgram(const std::vector<std::string>& arguments,
                               const RunSetup& setup,
                               const std::filesystem::path& err) {
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ > 0) return;
  redirect(err, O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
  execute(arguments, setup.environment);
}

RunningProgram::~RunningProgram() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::vector<pid_t> RunningProgram::ranks() const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) + "/children");
  return {std::istream_iterator<pid_t>(file), {}};
}

int RunningProgram::wait() {
  int waited = 0;
  ::waitpid(pid_, &waited, 0);
  pid_ = -1;
  return status_of(waited);
}

TerminalProgram::TerminalProgram(const std::vector<std::string>& arguments,
                                 const std::map<std::string, std::string>& environment) {
  process_ = ::forkpty(&terminal_, nullptr, nullptr, nullptr);
  if (process_ < 0) throw std::runtime_error("forkpty failed");
  if (process_ == 0) execute(arguments, environment);
}

TerminalProgram::~TerminalProgram() {
  if (process_ > 0) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  ::close(terminal_);
}

void TerminalProgram::type(std::string_view keys) {
  if (::write(terminal_, keys.data(), keys.size()) != static_cast<ssize_t>(keys.size()))
    throw std::runtime_error("the terminal took no keys");
}

void TerminalProgram::send_signal(int signal) {
  ::kill(process_, signal);
}

bool TerminalProgram::read_more(double seconds) {
  pollfd ready = {terminal_, POLLIN, 0};
  if (::poll(&ready, 1, static_cast<int>(seconds * 1000)) <= 0) return true;
  char chunk[4096];
  const ssize_t got = ::read(terminal_, chunk, sizeof(chunk));
  if (got <= 0) return false;  // EIO: the program has ended
  unread_.append(chunk, static_cast<std::size_t>(got));
  return true;
}

std::string TerminalProgram::read_until(std::string_view text, double seconds) {
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (unread_.find(text) == std::string::npos && Clock::now() < end)
    if (!read_more(0.05)) break;
  const auto found = unread_.find(text);
  std::string result = unread_.substr(0, found == std::string::npos ? found : found + text.size());
  unread_.erase(0, result.size());
  return result;
}

int TerminalProgram::wait(double seconds) {
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end) {
    int waited = 0;
    if (::waitpid(process_, &waited, WNOHANG) == process_) {
      process_ = -1;
      return status_of(waited);
    }
    if (!read_more(0.02)) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return -1;
}

}  // namespace baichuan
