#include "app/rank_supervisor.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "app/repeated_signal.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"

namespace baichuan {

namespace {

using Clock = std::chrono::steady_clock;

// A killed process ends at once, unless it waits for a device or a disk that does not answer.
constexpr std::chrono::seconds kEndOfKilled{5};

// The signals of the launcher, read in its loop instead of handled: nothing is interrupted, nothing races.
class SignalWatch {
 public:
  SignalWatch() {
    sigset_t wanted;
    ::sigemptyset(&wanted);
    for (const int signal : {SIGINT, SIGTERM, SIGCHLD, SIGTSTP, SIGCONT}) ::sigaddset(&wanted, signal);
    ::sigprocmask(SIG_BLOCK, &wanted, &before_);
    ::signal(SIGCHLD, SIG_DFL);  // inherited as ignored, it would hide how a rank has ended
    fd_ = Descriptor(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd_.open()) throw MachineError("the launcher cannot watch its signals: {}", std::strerror(errno));
  }
  ~SignalWatch() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  int fd() const { return fd_.get(); }
  const sigset_t& mask_before() const { return before_; }

  // 0 when no more have come.
  int next() {
    signalfd_siginfo info{};
    return ::read(fd_.get(), &info, sizeof(info)) == sizeof(info) ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t before_{};
  Descriptor fd_;
};

// Open before any rank runs and handed on to rank 0, so that nobody else can take the port in between.
class StoreSocket {
 public:
  StoreSocket() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (!fd_.open() || ::bind(fd_.get(), any, size) != 0 || ::listen(fd_.get(), SOMAXCONN) != 0 ||
        ::getsockname(fd_.get(), any, &size) != 0)
      throw MachineError("the ranks need a port of the loopback interface to meet at; there is none: {}",
                         std::strerror(errno));
    port_ = ntohs(address.sin_port);
  }
  int fd() const { return fd_.get(); }
  int port() const { return port_; }

 private:
  Descriptor fd_;
  int port_ = 0;
};

// Where the ranks leave their errors; gone with the launcher.
class PrivateDirectory {
 public:
  PrivateDirectory() {
    const char* const parent = std::getenv("TMPDIR");
    std::string pattern = (fs::path(parent != nullptr ? parent : "/tmp") / "baichuan-ranks-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      throw MachineError(
          "the ranks need a directory for their errors; cannot create {}: {}; set TMPDIR to one that can "
          "be written to",
          pattern, std::strerror(errno));
    path_ = pattern;
  }
  ~PrivateDirectory() { remove_quietly(path_); }
  PrivateDirectory(const PrivateDirectory&) = delete;
  PrivateDirectory& operator=(const PrivateDirectory&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string random_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

// One start of all ranks, and what becomes of them.
class Attempt {
 public:
  Attempt(const SupervisedRun& run, SignalWatch& signals) : run_(run), signals_(signals) {}
  ~Attempt();
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  void start(std::int64_t restart_count);
  // Returns when every rank has ended.
  void watch();

  bool failed() const { return first_failure() != nullptr && !second_signal_; }
  bool stopping() const { return stop_signal_ != 0; }
  bool killed() const { return give_up_at_.has_value(); }
  bool wrong_usage() const { return first_failure()->exit_status() == 2; }
  // If nothing failed.
  int exit_status() const;
  // If something did: the sentence about it. Prints what the other ranks have reported.
  std::string describe_failure() const;
  // All ranks have met the same error, so that it does not matter which one is named.
  bool all_said_the_same() const;

 private:
  struct Rank {
    RankProcess process;
    bool ended_by_us = false;
    bool failed = false;
  };

  void on_signal(int signal);
  void on_stop_signal(int signal);
  void reap();
  bool leaves_others_waiting(Rank& rank) const;
  void wait_for_events();
  void act_on_deadlines();
  void kill_all();
  bool any_running() const;
  const RankProcess* first_failure() const;

  const SupervisedRun& run_;
  SignalWatch& signals_;
  PrivateDirectory directory_;
  std::vector<Rank> ranks_;
  pid_t group_ = 0;
  int stop_signal_ = 0;
  Clock::time_point stopped_at_;
  std::optional<int> second_signal_;
  std::optional<Clock::time_point> kill_at_;
  std::optional<Clock::time_point> give_up_at_;
};

void Attempt::start(std::int64_t restart_count) {
  const StoreSocket store;
  RankCommand command = run_.command;
  auto& environment = command.environment;
  const std::string count = std::to_string(run_.ranks);
  environment["WORLD_SIZE"] = environment["LOCAL_WORLD_SIZE"] = count;
  environment["MASTER_ADDR"] = "127.0.0.1";
  environment["MASTER_PORT"] = std::to_string(store.port());
  environment["BAICHUAN_RUN_ID"] = random_id();
  environment["BAICHUAN_RESTART_COUNT"] = std::to_string(restart_count);
  for (std::int64_t rank = 0; rank < run_.ranks; ++rank) {
    environment["RANK"] = environment["LOCAL_RANK"] = std::to_string(rank);
    if (rank == 0)
      environment["BAICHUAN_STORE_FD"] = std::to_string(store.fd());
    else
      environment.erase("BAICHUAN_STORE_FD");
    const fs::path error_file = directory_.path() / fmt::format("error-{}.json", rank);
    ranks_.push_back(
        {RankProcess(command, {rank, group_, rank == 0 ? store.fd() : -1, signals_.mask_before(), error_file})});
    group_ = ranks_.front().process.pid();
  }
}

// Only when something was thrown there are ranks left.
Attempt::~Attempt() {
  if (!any_running()) return;
  ::kill(-group_, SIGKILL);
  for (auto& rank : ranks_)
    if (rank.process.running()) ::waitpid(rank.process.pid(), nullptr, 0);
}

void Attempt::watch() {
  while (any_running()) {
    wait_for_events();
    while (const int signal = signals_.next()) on_signal(signal);
    reap();
    act_on_deadlines();
  }
  // What the ranks themselves have started and left behind.
  if (kill_at_ || killed()) ::kill(-group_, SIGKILL);
}

void Attempt::wait_for_events() {
  std::vector<pollfd> watched = {{signals_.fd(), POLLIN, 0}};
  for (const auto& rank : ranks_)
    if (rank.process.output() >= 0) watched.push_back({rank.process.output(), POLLIN, 0});
  int timeout = -1;
  if (const auto deadline = give_up_at_ ? give_up_at_ : kill_at_) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count();
    timeout = static_cast<int>(std::max<std::int64_t>(left, 0));
  }
  ::poll(watched.data(), watched.size(), timeout);
  for (auto& rank : ranks_) rank.process.forward_output(/*ended=*/false);
}

void Attempt::on_signal(int signal) {
  if (signal == SIGINT || signal == SIGTERM) on_stop_signal(signal);
  // The terminal stops and continues the launcher's group alone.
  if (signal == SIGTSTP) {
    ::kill(-group_, SIGSTOP);
    ::raise(SIGSTOP);
  }
  if (signal == SIGCONT) ::kill(-group_, SIGCONT);
}

void Attempt::on_stop_signal(int signal) {
  const auto now = Clock::now();
  if (stop_signal_ == 0) {
    stop_signal_ = signal;
    stopped_at_ = now;
    for (const auto& rank : ranks_)
      if (rank.process.running()) ::kill(rank.process.pid(), signal);
  } else if (now - stopped_at_ > kSameSignal) {
    second_signal_ = signal;
    kill_all();
  }
}

void Attempt::reap() {
  for (auto& rank : ranks_) {
    if (!rank.process.reap()) continue;
    rank.process.forward_output(/*ended=*/true);
    if (leaves_others_waiting(rank) && !kill_at_ && !killed()) kill_at_ = Clock::now() + run_.grace;
  }
}

// Whether it ended without having agreed on it with the others.
bool Attempt::leaves_others_waiting(Rank& rank) const {
  const int status = rank.process.wait_status();
  rank.ended_by_us = killed() && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  // Before a rank can answer a signal, the signal ends it: that is no failure.
  const bool stopped_early = stopping() && WIFSIGNALED(status) && WTERMSIG(status) == stop_signal_;
  rank.failed = rank.process.failed() && !rank.ended_by_us && !stopped_early;
  return rank.failed || stopped_early;
}

void Attempt::act_on_deadlines() {
  const auto now = Clock::now();
  if (kill_at_ && !killed() && now >= *kill_at_) kill_all();
  if (!killed() || now < *give_up_at_) return;
  for (const auto& rank : ranks_)
    if (rank.process.running())
      throw MachineError(
          "a killed rank should end at once; rank {} (pid {}) has not within {} s: it waits for a device or a disk; "
          "see what keeps it before the next run",
          rank.process.rank(), rank.process.pid(), kEndOfKilled.count());
}

void Attempt::kill_all() {
  ::kill(-group_, SIGKILL);
  give_up_at_ = Clock::now() + kEndOfKilled;
}

bool Attempt::any_running() const {
  return std::any_of(ranks_.begin(), ranks_.end(), [](const auto& rank) { return rank.process.running(); });
}

// The others' failures follow from it. Only SIGABRT among the signals can be such a consequence, of an exception in a
// thread that waited for the dead rank; all others come from outside or from a bug.
const RankProcess* Attempt::first_failure() const {
  const auto order = [](const Rank& rank) {
    const int status = rank.process.wait_status();
    const bool first = WIFSIGNALED(status) && WTERMSIG(status) != SIGABRT;
    return std::pair(!first, rank.process.ended_at());
  };
  const Rank* found = nullptr;
  for (const auto& rank : ranks_)
    if (rank.failed && (found == nullptr || order(rank) < order(*found))) found = &rank;
  return found == nullptr ? nullptr : &found->process;
}

int Attempt::exit_status() const {
  if (second_signal_) return 128 + *second_signal_;
  for (const auto& rank : ranks_)
    if (!rank.ended_by_us && rank.process.exit_status() != 0) return rank.process.exit_status();
  return 0;
}

bool Attempt::all_said_the_same() const {
  const std::string words = ranks_.front().process.last_words();
  return !words.empty() && std::all_of(ranks_.begin(), ranks_.end(), [&](const Rank& rank) {
    return rank.failed && WIFEXITED(rank.process.wait_status()) && rank.process.last_words() == words;
  });
}

std::string Attempt::describe_failure() const {
  const RankProcess& first = *first_failure();
  std::string words = first.last_words();
  if (all_said_the_same() || (wrong_usage() && !words.empty())) return words;
  for (const auto& rank : ranks_) {
    const auto reported = rank.process.reported_error();
    if (rank.failed && reported && *reported != words)
      fmt::print(stderr, "[rank {}] error: {}\n", rank.process.rank(), *reported);
  }
  return fmt::format("rank {} (pid {}) {}; last words: {}", first.rank(), first.pid(), first.end(),
                     words.empty() ? "none" : words);
}

}  // namespace

int supervise_ranks(const SupervisedRun& run) {
  SignalWatch signals;
  std::int64_t counted_restarts = 0;
  for (std::int64_t restart = 0;; ++restart) {
    Attempt attempt(run, signals);
    attempt.start(counted_restarts);
    attempt.watch();
    const bool failed = attempt.failed();
    const std::string failure = failed ? attempt.describe_failure() : "";
    Aftermath aftermath;
    if (failed || attempt.killed()) aftermath = run.after_failure();
    if (!failed) return attempt.exit_status();
    if (attempt.wrong_usage()) throw UsageError(failure);
    if (restart == run.max_restarts || attempt.stopping()) {
      if (attempt.all_said_the_same()) throw MachineError(failure);
      throw MachineError("{}; the run has ended; {}", failure, aftermath.advice);
    }
    log::warning("{}; starting all ranks again, restart {} of {}", failure, restart + 1, run.max_restarts);
    counted_restarts = aftermath.nothing_begun ? 0 : restart + 1;
  }
}

}  // namespace baichuan
