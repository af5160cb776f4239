// SIGINT and SIGTERM, sent to the launcher or typed on its terminal.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/files.h"
#include "tests/launcher/launched_ranks.h"
#include "tests/pseudo_terminal.h"

namespace baichuan {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

// Counts the signals that a rank gets, and ends half a second after the first, as after a checkpoint.
const std::string kCounts =
    "last=0; trap 'echo INT >> $D/signals.$RANK; last=130' INT; trap 'echo TERM >> $D/signals.$RANK; last=143' TERM; "
    "touch $D/up.$RANK; while [ $last = 0 ]; do sleep 0.02; done; "
    "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.05; done; exit $last";
const std::string kDeaf = "trap '' INT TERM; touch $D/up.$RANK; while :; do sleep 0.1; done";

TEST(StopSignal, ReachesEveryRankOnce) {
  for (const auto& [signal, name] : {std::pair(SIGTERM, "TERM\n"), std::pair(SIGINT, "INT\n")}) {
    LaunchedRanks run(kCounts, 3, /*max_restarts=*/2);
    run.start();
    ASSERT_TRUE(run.wait_for_files("up", 3));
    run.send(signal);
    EXPECT_EQ(run.wait(), 128 + signal);
    for (const char* file : {"signals.0", "signals.1", "signals.2"}) EXPECT_EQ(run.file(file), name);
    EXPECT_EQ(run.err(), "");
    EXPECT_THAT(run.left(), IsEmpty());
  }
}

TEST(StopSignal, TypedOnTheTerminalReachesEveryRankOnce) {
  BAICHUAN_NEEDS_PSEUDO_TERMINAL();
  LaunchedRanks run(kCounts);
  run.start(/*on_terminal=*/true);
  ASSERT_TRUE(run.wait_for_files("up", 3));
  run.type("\x03");
  EXPECT_EQ(run.wait(), 130);
  for (const char* file : {"signals.0", "signals.1", "signals.2"}) EXPECT_EQ(run.file(file), "INT\n");
}

TEST(StopSignal, ThatComesTwiceAtOnceCountsOnce) {
  LaunchedRanks run(kCounts);
  run.start();
  ASSERT_TRUE(run.wait_for_files("up", 3));
  run.send(SIGTERM);
  ::usleep(50'000);
  run.send(SIGTERM);
  EXPECT_EQ(run.wait(), 143);
  for (const char* file : {"signals.0", "signals.1", "signals.2"}) EXPECT_EQ(run.file(file), "TERM\n");
}

TEST(StopSignal, TheSecondKillsEverything) {
  LaunchedRanks run(kDeaf, 3, /*max_restarts=*/2);
  run.setup().after_failure = [&] {
    write_file_atomically(run.path("cleaned"), "");
    return Aftermath{};
  };
  run.start();
  ASSERT_TRUE(run.wait_for_files("up", 3));
  run.send(SIGTERM);
  ::usleep(500'000);
  run.send(SIGINT);
  EXPECT_EQ(run.wait(), 130);
  EXPECT_LT(run.seconds(), 5);
  EXPECT_EQ(run.err(), "");
  EXPECT_TRUE(fs::exists(run.path("cleaned")));
  EXPECT_THAT(run.left(), IsEmpty());
}

// A program without handlers, or one that has not come to install them.
TEST(StopSignal, EndsRanksThatDoNotHandleIt) {
  LaunchedRanks all("touch $D/up.$RANK; sleep 60 & wait", 3, /*max_restarts=*/2);
  all.start();
  ASSERT_TRUE(all.wait_for_files("up", 3));
  all.send(SIGTERM);
  EXPECT_EQ(all.wait(), 143);
  EXPECT_EQ(all.err(), "");
  EXPECT_THAT(all.left(), IsEmpty());
  LaunchedRanks some("if [ $RANK != 1 ]; then trap '' TERM; fi; touch $D/up.$RANK; sleep 60 & wait; sleep 60");
  some.start();
  ASSERT_TRUE(some.wait_for_files("up", 3));
  some.send(SIGTERM);
  EXPECT_EQ(some.wait(), 143) << "the others would wait for rank 1 for ever";
  EXPECT_EQ(some.err(), "");
  EXPECT_THAT(some.left(), IsEmpty());
}

TEST(StopSignal, ToOneRankIsTheRanksBusiness) {
  // Rank 1 stops by itself, and the others a good deal later, as after a long checkpoint.
  LaunchedRanks run("if [ $RANK != 1 ]; then sleep 1; touch $D/saved.$RANK; fi; exit 143", 3, /*max_restarts=*/2);
  run.start();
  EXPECT_EQ(run.wait(), 143);
  EXPECT_TRUE(fs::exists(run.path("saved.0")));
  EXPECT_TRUE(fs::exists(run.path("saved.2")));
  EXPECT_EQ(run.err(), "");
}

TEST(StopSignal, HidesNoFailureAndCausesNoRestart) {
  LaunchedRanks run("trap 'exit 9' TERM; touch $D/up.$RANK; while :; do sleep 0.02; done", 2, /*max_restarts=*/2);
  run.start();
  ASSERT_TRUE(run.wait_for_files("up", 2));
  run.send(SIGTERM);
  EXPECT_EQ(run.wait(), 1);
  EXPECT_THAT(run.err(), HasSubstr("ended with status 9; last words: none; the run has ended; go on somehow\n"));
}

char state_of(pid_t process) {
  const std::string stat = read_file(fmt::format("/proc/{}/stat", process));
  return stat[stat.rfind(')') + 2];
}

// The first field that says "stopped" of the run's shell processes, after up to two seconds.
bool all_reach_state(const LaunchedRanks& run, const std::string& states) {
  for (int i = 0; i < 100; ++i, ::usleep(20'000)) {
    bool all = true;
    for (const pid_t process : run.processes()) all &= states.find(state_of(process)) != std::string::npos;
    if (all) return true;
  }
  return false;
}

TEST(StopSignal, OfTheTerminalStopsAndContinuesTheRanksToo) {
  BAICHUAN_NEEDS_PSEUDO_TERMINAL();
  LaunchedRanks run("touch $D/up.$RANK; while ! [ -e $D/go ]; do :; done");
  run.start(/*on_terminal=*/true);
  ASSERT_TRUE(run.wait_for_files("up", 3));
  run.type("\x1a");
  EXPECT_TRUE(all_reach_state(run, "T"));
  run.send(SIGCONT);
  EXPECT_TRUE(all_reach_state(run, "RS"));
  write_file_atomically(run.path("go"), "");
  EXPECT_EQ(run.wait(), 0);
}

}  // namespace
}  // namespace baichuan
