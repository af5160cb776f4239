#include "app/local_ranks.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/command_line.h"
#include "app/report_error.h"
#include "core/error.h"
#include "core/files.h"
#include "tests/scratch_directory.h"

namespace baichuan {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

class LocalRanks : public testing::Test {
 protected:
  void TearDown() override {
    for (const auto& [name, unused] : environment_) ::unsetenv(name.c_str());
  }

  void set(const std::map<std::string, std::string>& environment) {
    environment_ = environment;
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  }

  std::vector<std::string> arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"--model_name_or_path", "model", "--do_train", "--output_dir",
                                      (scratch_ / "out").string()};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  std::optional<std::int64_t> ranks(const std::vector<std::string>& more) {
    TrainCommandOptions options;
    OptionTable table;
    options.add_to(table);
    parse_command_line(table, arguments(more), true);
    options.validate(table);
    return local_ranks_to_start(options, table);
  }

  template <class E>
  std::string message_of(const std::vector<std::string>& more) {
    try {
      ranks(more);
    } catch (const E& error) {
      return error.what();
    }
    return "no such error";
  }

  // Runs the launcher in a process of its own. Its ranks run this test program, whose main() makes them fake_rank().
  int launch(const std::vector<std::string>& more) {
    const pid_t launcher = ::fork();
    if (launcher == 0) {
      const int status = run_launcher(more);
      std::fflush(stderr);
      ::_exit(status);
    }
    int status = 0;
    ::waitpid(launcher, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  std::string err() const { return read_file(scratch_ / "err"); }

  ScratchDirectory scratch_;

 private:
  int run_launcher(const std::vector<std::string>& more) {
    if (std::freopen((scratch_ / "err").c_str(), "a", stderr) == nullptr) return 99;
    try {
      auto words = arguments(more);
      TrainCommandOptions options;
      OptionTable table;
      options.add_to(table);
      parse_command_line(table, words, true);
      words.insert(words.begin(), "train");
      return run_local_ranks(options, local_ranks_to_start(options, table).value(), words);
    } catch (const std::exception& error) {
      return report_error(error);
    }
  }

  std::map<std::string, std::string> environment_;
};

const std::map<std::string, std::string> kTorchrun = {{"RANK", "0"},        {"WORLD_SIZE", "8"},
                                                      {"LOCAL_RANK", "0"},  {"LOCAL_WORLD_SIZE", "4"},
                                                      {"MASTER_ADDR", "a"}, {"MASTER_PORT", "29500"}};

TEST_F(LocalRanks, AreStartedWhenMoreThanOneIsAskedFor) {
  EXPECT_FALSE(ranks({}).has_value());
  EXPECT_FALSE(ranks({"--num_gpus", "1", "--num_processes", "1"}).has_value());
  EXPECT_EQ(ranks({"--num_processes", "3"}), 3);
  EXPECT_EQ(ranks({"--num_gpus", "4", "--device", "cpu"}), 4);
  EXPECT_EQ(ranks({"--max_restarts", "2"}), 1) << "a single rank, too, needs somebody to start it again";
}

TEST_F(LocalRanks, AreNotStartedUnderALauncher) {
  set(kTorchrun);
  EXPECT_FALSE(ranks({}).has_value());
  EXPECT_FALSE(ranks({"--num_gpus", "4"}).has_value());
  EXPECT_FALSE(ranks({"--local_rank=0"}).has_value());
  EXPECT_EQ(message_of<UsageError>({"--num_gpus", "8"}),
            "--num_gpus must be the number of ranks that torchrun has started on this machine; found 8 and 4; leave it "
            "out");
  EXPECT_EQ(message_of<UsageError>({"--num_processes", "1"}),
            "--num_processes must be the number of ranks that torchrun has started on this machine; found 1 and 4; "
            "leave it out");
  EXPECT_EQ(
      message_of<UsageError>({"--max_restarts", "1"}),
      "--max_restarts is for ranks that --num_gpus or --num_processes start; torchrun has started these; leave it "
      "out and let torchrun start them again");
  EXPECT_EQ(message_of<UsageError>({"--local_rank=1"}),
            "--local_rank 1 must agree with the environment; torchrun says local rank 0; leave the flag out");
}

TEST_F(LocalRanks, NeedAsManyGpus) {
  EXPECT_THAT(message_of<MachineError>({"--num_gpus", "4096"}),
              MatchesRegex("--num_gpus 4096 needs as many CUDA devices; found [0-9]+; give a smaller number, see "
                           "`baichuan doctor`, or give --device cpu for ranks on this machine's CPUs"));
}

TEST_F(LocalRanks, RefuseContradictions) {
  EXPECT_EQ(message_of<UsageError>({"--num_gpus", "2", "--num_processes", "3"}),
            "--num_gpus and --num_processes both say how many ranks to start; found 2 and 3; give one");
  EXPECT_EQ(message_of<UsageError>({"--num_gpus", "2", "--device", "cuda:1"}),
            "--device cuda:1 is one GPU; found 2 ranks to start; leave --device out");
  EXPECT_EQ(message_of<UsageError>({"--num_processes", "2", "--device", "cuda"}),
            "--num_processes starts ranks on CPUs; found --device cuda; give --num_gpus 2 instead");
  EXPECT_THAT(message_of<UsageError>({"--num_gpus", "0"}), HasSubstr("--num_gpus"));
  EXPECT_THAT(message_of<UsageError>({"--max_restarts", "-1"}), HasSubstr("--max_restarts"));
}

TEST_F(LocalRanks, ShareTheCoresAndKeepToTheLoopbackInterface) {
  cpu_set_t cores;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(cores), &cores), 0);
  const int each = std::max(CPU_COUNT(&cores) / 2, 1);
  set({{"FAKE_RANK", "environment"}});
  ASSERT_EQ(launch({"--num_gpus", "2", "--device", "cpu"}), 0) << err();
  EXPECT_THAT(
      err(), HasSubstr(fmt::format("[rank 1] OMP_NUM_THREADS={} GLOO_SOCKET_IFNAME=lo NCCL_SOCKET_IFNAME=lo\n", each)));
  set({{"FAKE_RANK", "environment"}, {"OMP_NUM_THREADS", "7"}});
  ASSERT_EQ(launch({"--num_gpus", "2", "--device", "cpu"}), 0);
  EXPECT_THAT(err(), HasSubstr("[rank 1] OMP_NUM_THREADS=7 "));
}

TEST_F(LocalRanks, GetTheLaunchersArguments) {
  set({{"FAKE_RANK", "arguments"}});
  ASSERT_EQ(launch({"--num_gpus", "2", "--device", "cpu", "--dataset", "two words"}), 0);
  EXPECT_THAT(err(), HasSubstr("[rank 1] train|--model_name_or_path|model|--do_train|--output_dir|" +
                               (scratch_ / "out").string() + "|--num_gpus|2|--device|cpu|--dataset|two words|\n"));
}

TEST_F(LocalRanks, LeaveNoHalfWrittenCheckpoint) {
  set({{"FAKE_RANK", "killed"}});
  EXPECT_EQ(launch({"--num_gpus", "2", "--device", "cpu"}), 1);
  EXPECT_TRUE(fs::is_empty(scratch_ / "out"));
  EXPECT_THAT(
      err(),
      HasSubstr(
          "(SIGKILL); last words: restart count 0 / saving; the run has ended; there is no checkpoint of it to go on "
          "from: start it again\n"));
  fs::create_directories(scratch_ / "out" / "checkpoint-5");
  write_file_atomically(scratch_ / "out" / "checkpoint-5" / "manifest.json", "{}");
  EXPECT_EQ(launch({"--num_gpus", "2", "--device", "cpu", "--resume_from_checkpoint", "latest"}), 1);
  EXPECT_THAT(err(), HasSubstr("the run has ended; go on with --resume_from_checkpoint latest\n"));
  EXPECT_EQ(std::distance(fs::directory_iterator(scratch_ / "out"), fs::directory_iterator()), 1);
}

TEST_F(LocalRanks, AreCleanedUpAfterWhereTheyAreMadeToCrash) {
  set({{"FAKE_RANK", "killed"}, {"BAICHUAN_CRASH_AT", "1"}});
  EXPECT_EQ(launch({"--max_restarts", "1"}), 1) << "the launcher's own file operations are no crash points";
  EXPECT_TRUE(fs::is_empty(scratch_ / "out"));
}

TEST_F(LocalRanks, AreNotStartedBesideCheckpointsOfAnotherRun) {
  fs::create_directories(scratch_ / "out" / "checkpoint-5");
  EXPECT_EQ(launch({"--num_gpus", "2", "--device", "cpu", "--max_restarts", "3"}), 1);
  EXPECT_THAT(err(), MatchesRegex("error: --output_dir .* must not hold a checkpoint of an earlier run; found "
                                  "checkpoint-5; give --resume_from_checkpoint latest to go on from it, or "
                                  "--overwrite_output_dir to start anew\n"));
}

TEST_F(LocalRanks, NeverGoOnFromACheckpointThatWasToBeOverwritten) {
  const fs::path manifest = scratch_ / "out" / "checkpoint-5" / "manifest.json";
  fs::create_directories(manifest.parent_path());
  write_file_atomically(manifest, "{}");
  set({{"FAKE_RANK", "killed"}});
  EXPECT_EQ(launch({"--num_gpus", "1", "--max_restarts", "1", "--overwrite_output_dir"}), 1);
  EXPECT_THAT(err(), HasSubstr("restart count 0\n"));
  EXPECT_EQ(err().find("restart count 1\n"), std::string::npos);
  EXPECT_THAT(err(), HasSubstr("there is no checkpoint of it to go on from"));
  set({{"FAKE_RANK", "overwrites"}});
  EXPECT_EQ(launch({"--num_gpus", "1", "--max_restarts", "1", "--overwrite_output_dir"}), 1);
  EXPECT_THAT(err(), HasSubstr("restart count 1\n"));
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return fmt::format("{}={}", name, value == nullptr ? "" : value);
}

int fake_rank(int argc, char** argv) {
  const std::string kind = std::getenv("FAKE_RANK");
  std::string all;
  for (int i = 1; i < argc; ++i) all += fmt::format("{}|", argv[i]);
  if (kind == "arguments") fmt::print(stderr, "{}\n", all);
  if (kind == "environment")
    fmt::print(stderr, "{} {} {}\n", variable("OMP_NUM_THREADS"), variable("GLOO_SOCKET_IFNAME"),
               variable("NCCL_SOCKET_IFNAME"));
  if (kind != "killed" && kind != "overwrites") return 0;
  const fs::path output_dir = argv[6];
  if (kind == "overwrites") fs::remove_all(output_dir / "checkpoint-5");
  fs::create_directories(output_dir / fmt::format(".checkpoint-10.{}.0.tmp", ::getpid()) / "inner");
  fmt::print(stderr, "restart count {}\n", std::getenv("BAICHUAN_RESTART_COUNT"));
  fmt::print(stderr, "saving\n");
  if (variable("RANK") != "RANK=0" || variable("WORLD_SIZE") == "WORLD_SIZE=1") ::raise(SIGKILL);
  ::sleep(60);
  return 0;
}

}  // namespace
}  // namespace baichuan

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "train") return baichuan::fake_rank(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
