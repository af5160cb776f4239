#include "app/rank_supervisor.h"

#include <cstdlib>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/error.h"
#include "tests/launcher/launched_ranks.h"

namespace baichuan {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;

// Leaves an error where the launcher looks for it, as report_error() does.
const std::string kSay = R"(say() { echo "{\"message\": {\"message\": \"$1\"}}" > $TORCHELASTIC_ERROR_FILE; }; )";

// The issue's bound on the end of a run, of which the grace of real runs is 3 s and that of these tests 0.3 s.
constexpr double kBound = 10 - 3;

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(RankSupervisor, TellsEveryRankWhoItIs) {
  LaunchedRanks run(
      "env > $D/env.$RANK; readlink /proc/self/fd/$BAICHUAN_STORE_FD > $D/store.$RANK; "
      "grep -i \"0100007F:$(printf %04X $MASTER_PORT) 00000000:0000 0A\" /proc/net/tcp > $D/listens.$RANK; "
      "echo $RANK > $D/there.$RANK; while ! [ -e $D/there.0 -a -e $D/there.1 -a -e $D/there.2 ]; do sleep 0.01; done");
  run.start();
  ASSERT_EQ(run.wait(), 0) << run.err();
  std::set<std::string> shared;
  for (const std::string rank : {"0", "1", "2"}) {
    const std::string env = fmt::format("\n{}", run.file("env." + rank));
    for (const char* line : {"RANK={}", "LOCAL_RANK={}", "WORLD_SIZE=3", "LOCAL_WORLD_SIZE=3", "MASTER_ADDR=127.0.0.1",
                             "BAICHUAN_RESTART_COUNT=0"})
      EXPECT_THAT(env, HasSubstr(fmt::format("\n{}\n", fmt::format(fmt::runtime(line), rank))));
    for (const std::string name : {"MASTER_PORT=", "BAICHUAN_RUN_ID="}) {
      const auto at = env.find(fmt::format("\n{}", name));
      ASSERT_NE(at, std::string::npos);
      shared.insert(env.substr(at + 1, env.find('\n', at + 1) - at - 1));
    }
    EXPECT_EQ(env.find("\nBAICHUAN_STORE_FD=") != std::string::npos, rank == "0");
  }
  EXPECT_EQ(shared.size(), 2U) << "one port and one run id for all";
  EXPECT_THAT(run.file("store.0"), MatchesRegex("socket:.*\n"));
  EXPECT_EQ(count(run.file("listens.0"), "\n"), 1) << "the store's socket listens on the loopback address";
}

TEST(RankSupervisor, PrefixesWhatOtherRanksPrint) {
  LaunchedRanks run("echo from $RANK >&2; if [ $RANK = 1 ]; then echo out; echo; printf 'no newline' >&2; fi", 2);
  run.start();
  EXPECT_EQ(run.wait(), 0);
  EXPECT_EQ(count(run.err(), "from 0\n"), 1);
  EXPECT_EQ(count(run.err(), "[rank 0]"), 0);
  EXPECT_EQ(count(run.err(), "[rank 1] "), 3);
  EXPECT_THAT(run.err(), HasSubstr("[rank 1] from 1\n[rank 1] out\n[rank 1] no newline\n"));
}

TEST(RankSupervisor, EndsTheRunWhenARankIsKilled) {
  // The others ignore SIGTERM and have children of their own.
  LaunchedRanks run(
      "trap '' TERM; if [ $RANK = 2 ]; then echo step 7 >&2; echo saving >&2; kill -9 $$; fi; sleep 60; :");
  run.start();
  EXPECT_EQ(run.wait(), 1);
  EXPECT_LT(run.seconds(), kBound);
  EXPECT_THAT(run.err(),
              MatchesRegex("\\[rank 2\\] step 7\n\\[rank 2\\] saving\nerror: rank 2 \\(pid [0-9]+\\) was "
                           "killed by signal 9 \\(SIGKILL\\); last words: step 7 / saving; the run has ended; "
                           "go on somehow\n"));
  EXPECT_THAT(run.left(), IsEmpty());
}

TEST(RankSupervisor, NamesTheRankThatFailedFirstAndWhatTheOthersThenSaid) {
  LaunchedRanks run(kSay +
                    "if [ $RANK = 2 ]; then say 'disk full'; exit 1; fi; "
                    "until [ -s $(dirname $TORCHELASTIC_ERROR_FILE)/error-2.json ]; do sleep 0.01; done; "
                    "sleep 0.05; say 'lost a peer'; exit 1");
  run.start();
  EXPECT_EQ(run.wait(), 1);
  EXPECT_THAT(run.err(), HasSubstr("[rank 0] error: lost a peer\n"));
  EXPECT_THAT(run.err(), HasSubstr("[rank 1] error: lost a peer\n"));
  EXPECT_THAT(run.err(), MatchesRegex(".*\nerror: rank 2 \\(pid [0-9]+\\) ended with status 1; last words: disk full; "
                                      "the run has ended; go on somehow\n"));
}

TEST(RankSupervisor, DoesNotTakeAnAbortForTheCauseOfAKill) {
  LaunchedRanks run("if [ $RANK = 2 ]; then sleep 0.1; kill -9 $$; fi; kill -6 $$");
  run.start();
  EXPECT_EQ(run.wait(), 1);
  EXPECT_THAT(run.err(), HasSubstr("error: rank 2 "));
  EXPECT_THAT(run.err(), HasSubstr("last words: none; the run has ended"));
}

TEST(RankSupervisor, PrintsAnErrorOfAllRanksOnce) {
  LaunchedRanks run(kSay + "say 'cannot open rows.json'; exit 1");
  run.start();
  EXPECT_EQ(run.wait(), 1);
  EXPECT_EQ(run.err(), "error: cannot open rows.json\n");
}

TEST(RankSupervisor, PrintsWrongUsageOnceWithItsStatus) {
  LaunchedRanks all(kSay + "say 'unknown option --x'; exit 2", 3, /*max_restarts=*/2);
  all.start();
  EXPECT_EQ(all.wait(), 2);
  EXPECT_EQ(all.err(), "error: unknown option --x\n");
  LaunchedRanks one(kSay + "if [ $RANK = 0 ]; then say 'no rows to evaluate'; exit 2; fi; sleep 60");
  one.start();
  EXPECT_EQ(one.wait(), 2);
  EXPECT_EQ(one.err(), "error: no rows to evaluate\n");
  EXPECT_THAT(one.left(), IsEmpty());
}

TEST(RankSupervisor, NamesARankThatCannotRunTheProgram) {
  LaunchedRanks run("", 2);
  run.setup().command.words = {"/missing/program"};
  run.start();
  EXPECT_EQ(run.wait(), 1);
  EXPECT_THAT(run.err(), MatchesRegex("error: rank [01] \\(pid [0-9]+\\) ended with status 127; last words: none; the "
                                      "run has ended; go on somehow\n"));
}

TEST(RankSupervisor, LetsOneRankWorkOnWhenTheOthersAreDone) {
  LaunchedRanks run("if [ $RANK = 0 ]; then sleep 0.8; echo model > $D/model; fi");
  run.start();
  EXPECT_EQ(run.wait(), 0);
  EXPECT_EQ(run.file("model"), "model\n");
  EXPECT_EQ(run.err(), "");
}

TEST(RankSupervisor, StartsAllRanksAgain) {
  LaunchedRanks run(
      "env | grep -E '^(BAICHUAN_RUN_ID|MASTER_PORT|TORCHELASTIC_ERROR_FILE)=' >> $D/env.$RANK; "
      "echo $BAICHUAN_RESTART_COUNT >> $D/counts.$RANK; "
      "if [ $RANK = 1 -a $BAICHUAN_RESTART_COUNT -lt 2 ]; then echo bad memory >&2; exit 5; fi; "
      "if [ $BAICHUAN_RESTART_COUNT = 2 ]; then exit 0; fi; sleep 60",
      2, /*max_restarts=*/3);
  run.start();
  EXPECT_EQ(run.wait(), 0);
  EXPECT_EQ(run.file("counts.0"), "0\n1\n2\n");
  EXPECT_EQ(run.file("counts.1"), "0\n1\n2\n");
  EXPECT_THAT(run.err(), MatchesRegex("\\[rank 1\\] bad memory\n"
                                      "warning: rank 1 \\(pid [0-9]+\\) ended with status 5; last words: bad memory; "
                                      "starting all ranks again, restart 1 of 3\n"
                                      "\\[rank 1\\] bad memory\n"
                                      "warning: rank 1 \\(pid [0-9]+\\) ended with status 5; last words: bad memory; "
                                      "starting all ranks again, restart 2 of 3\n"));
  std::set<std::string> lines;
  std::istringstream env(run.file("env.0"));
  for (std::string line; std::getline(env, line);) lines.insert(line);
  EXPECT_EQ(count(run.file("env.0"), "BAICHUAN_RUN_ID"), 3);
  EXPECT_GE(lines.size(), 7U) << "run ids and error files of their own; a port may come twice";
  EXPECT_THAT(run.left(), IsEmpty());
}

TEST(RankSupervisor, EndsWhenNoRestartIsLeft) {
  LaunchedRanks run("echo $BAICHUAN_RESTART_COUNT >> $D/counts; exit 7", 1, /*max_restarts=*/2);
  run.start();
  EXPECT_EQ(run.wait(), 1);
  EXPECT_EQ(run.file("counts"), "0\n1\n2\n");
  EXPECT_EQ(count(run.err(), "starting all ranks again"), 2);
  EXPECT_THAT(run.err(), HasSubstr("error: rank 0 (pid "));
}

TEST(RankSupervisor, CountsNoRestartAfterRanksThatHadNotBegun) {
  LaunchedRanks run("echo $BAICHUAN_RESTART_COUNT >> $D/counts; exit 7", 1, /*max_restarts=*/2);
  run.setup().after_failure = [n = 0]() mutable { return Aftermath{"", n++ == 0}; };
  run.start();
  EXPECT_EQ(run.wait(), 1);
  EXPECT_EQ(run.file("counts"), "0\n0\n2\n");
}

TEST(RankSupervisor, CleansUpAfterEveryFailureOnceNoRankIsLeft) {
  LaunchedRanks run("touch $D/half.$RANK; if [ $RANK = 1 ]; then exit 7; fi; while :; do touch $D/half.0; done", 2,
                    /*max_restarts=*/1);
  run.setup().after_failure = [&] {
    std::filesystem::remove(run.path("half.0"));
    std::filesystem::remove(run.path("half.1"));
    return Aftermath{"it is clean", false};
  };
  run.start();
  EXPECT_EQ(run.wait(), 1);
  EXPECT_FALSE(std::filesystem::exists(run.path("half.0")));
  EXPECT_FALSE(std::filesystem::exists(run.path("half.1")));
  EXPECT_THAT(run.err(), HasSubstr("the run has ended; it is clean\n"));
}

TEST(RankSupervisor, LeavesNoTemporaryDirectory) {
  LaunchedRanks run("exit 7", 2, /*max_restarts=*/1);
  ::setenv("TMPDIR", run.path("").c_str(), 1);
  run.start();
  ::unsetenv("TMPDIR");
  EXPECT_EQ(run.wait(), 1);
  for (const auto& entry : std::filesystem::directory_iterator(run.path("")))
    EXPECT_EQ(entry.path().filename(), "err") << entry.path();
}

TEST(RankSupervisor, NeedsADirectoryForTheErrors) {
  LaunchedRanks run("exit 0");
  ::setenv("TMPDIR", run.path("missing").c_str(), 1);
  run.start();
  ::unsetenv("TMPDIR");
  EXPECT_EQ(run.wait(), 1);
  EXPECT_THAT(run.err(), MatchesRegex("error: the ranks need a directory for their errors; cannot create .*missing/"
                                      "baichuan-ranks-.*: No such file or directory; set TMPDIR to one that can be "
                                      "written to\n"));
}

// With every number of files that it may open, the launcher ends with a reason and without a process, until there are
// enough for all.
TEST(RankSupervisor, SaysWhatKeepsItFromStartingRanks) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int first_free = ::dup(STDERR_FILENO);
  ::close(first_free);
  std::string errors;
  int status = 1;
  for (int files = 1; status == 1 && files < 20; ++files) {
    LaunchedRanks run("if [ $RANK = 0 ]; then sleep 0.3; fi");
    const rlimit few{static_cast<rlim_t>(first_free + files), before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    run.start();
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    status = run.wait();
    errors += run.err();
    EXPECT_THAT(run.left(), IsEmpty());
  }
  EXPECT_EQ(status, 0);
  for (const char* error :
       {"error: the launcher cannot watch its signals: Too many open files\n",
        "error: the ranks need a port of the loopback interface to meet at; there is none: Too many "
        "open files\n",
        "error: cannot start rank 0: Too many open files; see `ulimit -a`, or start fewer ranks\n",
        "error: cannot start rank 2: Too many open files; see `ulimit -a`, or start fewer ranks\n"})
    EXPECT_THAT(errors, HasSubstr(error));
}

TEST(RankSupervisor, TakesItsRanksWithItWhenItIsKilled) {
  LaunchedRanks run("trap '' TERM HUP; touch $D/up.$RANK; while :; do sleep 0.1; done");
  run.start();
  ASSERT_TRUE(run.wait_for_files("up", 3));
  run.send(SIGKILL);
  EXPECT_EQ(run.wait(), 128 + SIGKILL);
  EXPECT_THAT(run.left(), IsEmpty());
}

}  // namespace
}  // namespace baichuan
