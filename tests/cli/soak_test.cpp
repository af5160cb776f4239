// The laws of killed_run_test.cpp at every operation on files, and at moments drawn from the whole run.
#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include <fmt/format.h>

#include "core/files.h"
#include "tests/cli/disturbed_run.h"
#include "tests/cli/processes.h"

namespace baichuan {
namespace {

using Clock = std::chrono::steady_clock;

class Soak : public DisturbedRun, public testing::WithParamInterface<int> {
 protected:
  DisturbedRunKind kind() const { return {.ranks = GetParam()}; }

  double seconds_of_whole_run(const DisturbedRunKind& long_run) {
    const auto start = Clock::now();
    train_whole(long_run);
    return std::chrono::duration<double>(Clock::now() - start).count();
  }
};

TEST_P(Soak, EveryOperationOnFilesIsACrashPoint) {
  ASSERT_NO_FATAL_FAILURE(train_whole(kind()));
  int n = 1;
  while (recovers_from_crash_at(kind(), n)) ++n;
  RecordProperty("crash_points", n - 1);
  fmt::print("{} crash points, {} resumed runs\n", n - 1, resumed_runs_);
  EXPECT_GE(n, 60);
}

// Any of the processes: a rank, or the launcher. A kill that comes after the end fails.
TEST_P(Soak, TwentyKillsAtAnyMoment) {
  const DisturbedRunKind long_run{.ranks = GetParam(), .steps = 40};
  const double whole = seconds_of_whole_run(long_run);
  ASSERT_FALSE(HasFatalFailure());
  std::mt19937 random(20231125);
  std::uniform_real_distribution<double> moment(0, 0.9 * whole);
  for (int kill = 0; kill < 20; ++kill) {
    const std::string name = fmt::format("kill_{}", kill);
    const double seconds = moment(random);
    RunningProgram running(words(long_run, name), setup_, scratch_ / "err");
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    std::vector<pid_t> processes = running.ranks();
    processes.push_back(running.pid());
    const pid_t victim = processes[random() % processes.size()];
    ::kill(victim, SIGKILL);
    const auto killed = Clock::now();
    ASSERT_NE(running.wait(), 0) << "the kill at " << seconds
                                 << " s came after the end: " << read_file(scratch_ / "err");
    EXPECT_TRUE(wait_until([&] { return processes_naming(output(name).string()).empty(); }));
    EXPECT_LT(Clock::now() - killed, std::chrono::seconds(10)) << "killed at " << seconds << " s";
    expect_recovery(long_run, name, fmt::format("killed after {:.2f} s of {:.2f}", seconds, whole));
    remove_quietly(output(name));
    if (HasFatalFailure()) return;
  }
  fmt::print("20 kills in runs of {:.1f} s, {} resumed runs\n", whole, resumed_runs_);
}

INSTANTIATE_TEST_SUITE_P(Ranks, Soak, testing::Values(1, 2));

}  // namespace
}  // namespace baichuan
