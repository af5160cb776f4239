#include "app/rank_process.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/error_file.h"
#include "core/error.h"

namespace baichuan {

namespace {

constexpr std::size_t kLastLines = 3;
constexpr std::size_t kLongestLine = std::size_t{1} << 16;

using Environment = std::map<std::string, std::string>;

Environment launcher_environment() {
  Environment result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) result.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (auto& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

// All that the new process needs, made before the fork: after it only async-signal-safe calls are allowed.
struct Prepared {
  std::vector<std::string> words;
  std::vector<std::string> environment;
  Descriptor null;
  Descriptor pipe_end;  // closed for rank 0
};

[[noreturn]] void throw_cannot_start(std::int64_t rank) {
  throw MachineError("cannot start rank {}: {}; see `ulimit -a`, or start fewer ranks", rank, std::strerror(errno));
}

// In the new process: never returns.
[[noreturn]] void become_rank(
    const RankProcess::Start& start, const Prepared& prepared, char* const* argv, char* const* envp, pid_t launcher) {
  ::setpgid(0, start.group);
  // Whatever ends the launcher, SIGKILL included, ends its ranks; it may have ended already.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != launcher) ::_exit(1);
  // The ranks are a background group of the terminal: they may write there, and find nothing to read.
  ::signal(SIGTTOU, SIG_IGN);
  ::dup2(prepared.null.get(), STDIN_FILENO);
  if (prepared.pipe_end.open()) {
    ::dup2(prepared.pipe_end.get(), STDOUT_FILENO);
    ::dup2(prepared.pipe_end.get(), STDERR_FILENO);
  }
  if (start.store_fd >= 0) ::fcntl(start.store_fd, F_SETFD, 0);
  ::sigprocmask(SIG_SETMASK, &start.signal_mask, nullptr);
  ::execve(argv[0], argv, envp);
  ::_exit(127);
}

}  // namespace

RankProcess::RankProcess(const RankCommand& command, const Start& start)
    : rank_(start.rank), error_file_(start.error_file) {
  Prepared prepared{command.words, {}, Descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC)), {}};
  Environment environment = launcher_environment();
  for (const auto& [name, value] : command.environment) environment.insert_or_assign(name, value);
  environment.insert_or_assign(kErrorFileVariable, error_file_.string());
  for (const auto& [name, value] : environment) prepared.environment.push_back(fmt::format("{}={}", name, value));
  if (!prepared.null.open()) throw_cannot_start(rank_);
  if (rank_ != 0) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw_cannot_start(rank_);
    output_ = Descriptor(ends[0]);
    prepared.pipe_end = Descriptor(ends[1]);
    ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
  }
  const auto argv = pointers(prepared.words);
  const auto envp = pointers(prepared.environment);
  const pid_t launcher = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw_cannot_start(rank_);
  if (pid_ == 0) become_rank(start, prepared, argv.data(), envp.data(), launcher);
  // Here too: whoever comes first, the group is there before the next rank wants to join it.
  ::setpgid(pid_, start.group);
}

void RankProcess::take_line(std::string_view line) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) return;
  const std::string text = fmt::format("[rank {}] {}\n", rank_, line);
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
  last_lines_.emplace_back(line);
  if (last_lines_.size() > kLastLines) last_lines_.pop_front();
}

void RankProcess::forward_output(bool ended) {
  char chunk[1 << 14];
  while (output_.open()) {
    const ssize_t got = ::read(output_.get(), chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      output_.reset();
      break;
    }
    unfinished_line_.append(chunk, static_cast<std::size_t>(got));
    std::size_t begin = 0;
    for (auto end = unfinished_line_.find('\n'); end != std::string::npos; end = unfinished_line_.find('\n', begin)) {
      take_line(std::string_view(unfinished_line_).substr(begin, end - begin));
      begin = end + 1;
    }
    unfinished_line_.erase(0, begin);
    if (unfinished_line_.size() > kLongestLine) take_line(std::exchange(unfinished_line_, {}));
    if (!ended) break;  // a rank that never stops talking must not keep the launcher from its other work
  }
  if (!ended) return;
  take_line(std::exchange(unfinished_line_, {}));
  output_.reset();
}

bool RankProcess::reap() {
  int status = 0;
  if (wait_status_ || ::waitpid(pid_, &status, WNOHANG) != pid_) return false;
  wait_status_ = status;
  noticed_at_ = std::chrono::system_clock::now();
  return true;
}

int RankProcess::exit_status() const {
  return WIFSIGNALED(*wait_status_) ? 128 + WTERMSIG(*wait_status_) : WEXITSTATUS(*wait_status_);
}

bool RankProcess::failed() const {
  if (WIFSIGNALED(*wait_status_)) return true;
  const int status = WEXITSTATUS(*wait_status_);
  return status != 0 && status != 128 + SIGINT && status != 128 + SIGTERM;
}

std::string RankProcess::end() const {
  if (!WIFSIGNALED(*wait_status_)) return fmt::format("ended with status {}", WEXITSTATUS(*wait_status_));
  const int signal = WTERMSIG(*wait_status_);
  const char* const name = ::sigabbrev_np(signal);
  return fmt::format("was killed by signal {} (SIG{})", signal, name != nullptr ? name : std::to_string(signal));
}

std::optional<std::string> RankProcess::reported_error() const {
  return read_error_file(error_file_);
}

std::string RankProcess::last_words() const {
  const auto reported = reported_error();
  return reported ? *reported : fmt::format("{}", fmt::join(last_lines_, " / "));
}

std::chrono::system_clock::time_point RankProcess::ended_at() const {
  struct stat status {};
  if (::stat(error_file_.c_str(), &status) != 0) return noticed_at_;
  const auto since_epoch =
      std::chrono::seconds(status.st_mtim.tv_sec) + std::chrono::nanoseconds(status.st_mtim.tv_nsec);
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(since_epoch));
}

}  // namespace baichuan
