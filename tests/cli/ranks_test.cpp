// Training over several ranks as a user starts it: `train --num_processes N`.
#include <chrono>
#include <csignal>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/files.h"
#include "core/json.h"
#include "tests/cli/processes.h"
#include "tests/cli/program.h"
#include "tests/cli/tiny_checkpoint.h"
#include "tests/scratch_directory.h"
#include "train/checkpoint_manifest.h"
#include "train/checkpoint_store.h"

namespace baichuan {
namespace {

using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

class RanksProgram : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_checkpoint(scratch_ / "model", 512);
    Json rows = Json::array();
    for (int i = 0; i < 24; ++i) rows.push_back({{"instruction", "Say it."}, {"output", std::to_string(i)}});
    write_json_file(scratch_ / "rows.json", rows);
    setup_.environment = {{"XDG_CACHE_HOME", (scratch_ / "cache").string()}, {"OMP_NUM_THREADS", "1"}};
  }

  std::vector<std::string> words(const std::string& output, int ranks, int accumulation) const {
    return {"train",
            "--stage=sft",
            "--do_train",
            "--model_name_or_path=" + (scratch_ / "model").string(),
            "--dataset=" + (scratch_ / "rows.json").string(),
            "--template=default",
            "--output_dir=" + (scratch_ / output).string(),
            "--num_processes=" + std::to_string(ranks),
            "--device=cpu",
            "--per_device_train_batch_size=2",
            "--gradient_accumulation_steps=" + std::to_string(accumulation),
            "--learning_rate=1e-3",
            "--max_steps=6",
            "--logging_steps=1",
            "--save_steps=2",
            "--val_size=4",
            "--evaluation_strategy=steps",
            "--eval_steps=2"};
  }

  RunResult train(const std::string& output, int ranks, int accumulation, const std::vector<std::string>& more = {}) {
    auto all = words(output, ranks, accumulation);
    all.insert(all.end(), more.begin(), more.end());
    return run_baichuan(all, setup_);
  }

  ScratchDirectory scratch_;
  RunSetup setup_;
};

TEST_F(RanksProgram, GivesTheWeightsOfOneProcess) {
  for (const std::string kind : {"lora", "full"}) {
    const std::vector<std::string> more{"--finetuning_type=" + kind, "--deterministic_reduce"};
    const auto alone = train(kind + "1", 1, 4, more);
    ASSERT_EQ(alone.status, 0) << alone.err;
    const auto together = train(kind + "2", 2, 2, more);
    ASSERT_EQ(together.status, 0) << together.err;
    const std::string file = kind == "lora" ? "adapter_model.safetensors" : "model.safetensors";
    EXPECT_EQ(read_file(scratch_ / (kind + "1") / file), read_file(scratch_ / (kind + "2") / file)) << kind;
    EXPECT_EQ(list_checkpoints(scratch_ / (kind + "2")).size(), 3u);
  }
}

TEST_F(RanksProgram, SaysOnceWhatIsWrongAndWithoutBacktraces) {
  const auto result = train("out", 2, 2, {"--dataset=" + (scratch_ / "none.json").string()});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("none.json"));
  EXPECT_EQ(result.err.find("none.json"), result.err.rfind("none.json")) << result.err;
  EXPECT_EQ(result.err.find("frame #"), std::string::npos) << result.err;
}

// Law: a rank that is killed ends the whole run within ten seconds, is named, leaves no process and no half-written
// checkpoint; the run goes on from its last checkpoint to the end of one that was never disturbed.
TEST_F(RanksProgram, EndsWhenARankIsKilledAndGoesOnToTheSameEnd) {
  const std::vector<std::string> longer{"--finetuning_type=lora", "--deterministic_reduce", "--max_steps=400"};
  const auto whole = train("whole", 2, 2, longer);
  ASSERT_EQ(whole.status, 0) << whole.err;
  const fs::path output = scratch_ / "killed";
  auto all = words("killed", 2, 2);
  all.insert(all.end(), longer.begin(), longer.end());
  RunningProgram running(all, setup_, scratch_ / "err");
  ASSERT_TRUE(wait_until([&] { return list_checkpoints(output).size() >= 3; })) << read_file(scratch_ / "err");
  const auto ranks = running.ranks();
  ASSERT_EQ(ranks.size(), 2u);
  ::kill(ranks[1], SIGKILL);
  const auto killed_at = Clock::now();
  EXPECT_EQ(running.wait(), 1);
  EXPECT_LT(Clock::now() - killed_at, std::chrono::seconds(10));
  EXPECT_THAT(read_file(scratch_ / "err"), HasSubstr("rank 1"));
  for (const pid_t rank : ranks) EXPECT_NE(::kill(rank, 0), 0) << "a process was left";
  for (const auto& checkpoint : list_checkpoints(output)) EXPECT_FALSE(find_damage(checkpoint.directory));
  for (const auto& entry : fs::directory_iterator(output))
    EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
  auto more = longer;
  more.emplace_back("--resume_from_checkpoint=latest");
  const auto second = train("killed", 2, 2, more);
  ASSERT_EQ(second.status, 0) << second.err;
  EXPECT_EQ(read_file(output / "adapter_model.safetensors"), read_file(scratch_ / "whole/adapter_model.safetensors"));
}

TEST_F(RanksProgram, StopsAllRanksAtOneStepWhenOneIsAskedTo) {
  auto all = words("stopped", 2, 2);
  for (const char* const word : {"--finetuning_type=lora", "--max_steps=100000", "--save_steps=100000"})
    all.emplace_back(word);
  RunningProgram running(all, setup_, scratch_ / "err");
  const fs::path log = scratch_ / "stopped/trainer_log.jsonl";
  ASSERT_TRUE(wait_until([&] { return fs::exists(log) && fs::file_size(log) > 0; })) << read_file(scratch_ / "err");
  ::kill(running.ranks().at(1), SIGTERM);
  EXPECT_EQ(running.wait(), 143) << read_file(scratch_ / "err");
  EXPECT_EQ(list_checkpoints(scratch_ / "stopped").size(), 1u);
}

// A port of this machine on which nobody listens.
std::uint16_t free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(socket, reinterpret_cast<const sockaddr*>(&address), size);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(socket);
  return ntohs(address.sin_port);
}

TEST_F(RanksProgram, ASignalEndsARankThatWaitsForTheOthers) {
  const std::uint16_t port = free_port();
  RunSetup alone = setup_;
  alone.environment.insert({{"RANK", "0"},
                            {"LOCAL_RANK", "0"},
                            {"WORLD_SIZE", "2"},
                            {"LOCAL_WORLD_SIZE", "2"},
                            {"MASTER_ADDR", "127.0.0.1"},
                            {"MASTER_PORT", std::to_string(port)}});
  auto all = words("waits", 1, 1);
  std::erase(all, "--num_processes=1");
  RunningProgram running(all, alone, scratch_ / "err");
  const std::string listens = fmt::format(":{:04X} ", port);
  const auto is_up = [&] {
    return (read_file("/proc/net/tcp") + read_file("/proc/net/tcp6")).find(listens) != std::string::npos;
  };
  ASSERT_TRUE(wait_until(is_up)) << read_file(scratch_ / "err");
  const auto began = Clock::now();
  ::kill(running.pid(), SIGTERM);
  EXPECT_EQ(running.wait(), 143) << read_file(scratch_ / "err");
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(10));
}

TEST_F(RanksProgram, NamesARankThatHangs) {
  auto all = words("hangs", 2, 2);
  for (const char* const word : {"--finetuning_type=lora", "--max_steps=100000", "--ddp_timeout=2"})
    all.emplace_back(word);
  RunningProgram running(all, setup_, scratch_ / "err");
  const fs::path log = scratch_ / "hangs/trainer_log.jsonl";
  ASSERT_TRUE(wait_until([&] { return fs::exists(log) && fs::file_size(log) > 0; })) << read_file(scratch_ / "err");
  ::kill(running.ranks().at(1), SIGSTOP);
  EXPECT_EQ(running.wait(), 1);
  EXPECT_THAT(read_file(scratch_ / "err"), HasSubstr("no word comes from: rank 1 is "));
}

}  // namespace
}  // namespace baichuan
