// Checkpoints that are written beside training, by one rank and by several, on one disk and on several.
#include "train/checkpoint_saver.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/file_events.h"
#include "core/files.h"
#include "distributed/process_group.h"
#include "io/checkpoint_reader.h"
#include "tests/distributed/rank_threads.h"
#include "tests/train/tiny_run.h"
#include "train/checkpoint_store.h"
#include "train/shared_disks.h"

namespace baichuan {
namespace {

using testing::HasSubstr;

// Holds the writing thread at its first write until it is opened.
class Gate {
 public:
  Gate() {
    set_file_event_hook([this](std::string_view operation, const std::filesystem::path&) {
      if (operation != "write" || std::this_thread::get_id() == main_) return;
      std::unique_lock lock(mutex_);
      opened_.wait(lock, [this] { return open_; });
    });
  }
  ~Gate() {
    open();
    set_file_event_hook({});
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }

 private:
  std::thread::id main_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

class Saver : public testing::Test {
 protected:
  const std::filesystem::path& out() const { return directory_.path(); }

  static CheckpointPart part_of(const std::string& stem, const at::Tensor& value) {
    CheckpointPart part;
    part.add_tensors(stem, {{{stem, at::kFloat, value.sizes().vec()}, value}});
    return part;
  }

  static at::Tensor stored(const std::filesystem::path& file, const std::string& name) {
    const auto reader = CheckpointReader::open(file);
    return reader.read(name);
  }

  // Polls as a training loop does.
  static void poll_until_complete(CheckpointSaver& saver, const std::filesystem::path& output) {
    for (int i = 0; i < 3000 && list_checkpoints(output).empty(); ++i) {
      saver.poll();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  TemporaryDirectory directory_;
};

TEST_F(Saver, KeepsTheValuesOfTheStepWhileTrainingGoesOn) {
  const auto group = make_solo_group();
  CheckpointStore store(out());
  const SharedDisks disks(1);
  int completed = 0;
  CheckpointSaver saver(*group, disks, &store, {.on_complete = [&] { ++completed; }});
  at::Tensor value = torch::arange(1000, at::kFloat);
  {
    Gate gate;
    saver.save(4, 0, part_of("weights", value));
    value.fill_(-1);  // the next step
    saver.poll();
    EXPECT_TRUE(list_checkpoints(out()).empty()) << "a checkpoint that is still being written must not be seen";
    gate.open();
    poll_until_complete(saver, out());
  }
  ASSERT_EQ(list_checkpoints(out()).size(), 1u);
  EXPECT_EQ(completed, 1);
  EXPECT_FALSE(find_damage(out() / "checkpoint-4"));
  EXPECT_TRUE(
      torch::equal(stored(out() / "checkpoint-4/weights.safetensors", "weights"), torch::arange(1000, at::kFloat)));
}

TEST_F(Saver, WithoutRoomForACopyItIsWrittenAtOnce) {
  const auto group = make_solo_group();
  CheckpointStore store(out());
  const SharedDisks disks(1);
  // More ranks share the memory than any machine could hold copies of.
  CheckpointSaver saver(*group, disks, &store, {.local_ranks = std::int64_t{1} << 50});
  at::Tensor value = torch::ones({100});
  saver.save(4, 0, part_of("weights", value));
  value.fill_(-1);
  saver.finish();
  EXPECT_TRUE(torch::equal(stored(out() / "checkpoint-4/weights.safetensors", "weights"), torch::ones({100})));
}

TEST_F(Saver, WhatStopsTheWritingStopsTheRunAndLeavesNothing) {
  const auto group = make_solo_group();
  CheckpointStore store(out());
  const SharedDisks disks(1);
  {
    CheckpointSaver saver(*group, disks, &store, {});
    set_file_event_hook([](std::string_view operation, const std::filesystem::path& path) {
      if (operation == "write") throw MachineError("cannot write {}: no space left", path.string());
    });
    saver.save(4, 0, part_of("weights", torch::ones({100})));
    try {
      saver.finish();
      FAIL() << "nothing was thrown";
    } catch (const MachineError& error) {
      EXPECT_THAT(error.what(), HasSubstr("no space left"));
    }
    set_file_event_hook({});
  }
  EXPECT_TRUE(std::filesystem::is_empty(out()));
}

TEST_F(Saver, OfSeveralRanksEachWritesItsPartOfOneCheckpoint) {
  const std::int64_t ranks = 3;
  run_ranks(ranks, [&](ProcessGroup& group) {
    const SharedDisks disks = SharedDisks::find(group, out());
    EXPECT_EQ(disks.count(), 1);
    std::optional<CheckpointStore> store;
    if (group.rank() == 0) store.emplace(out());
    CheckpointSaver saver(group, disks, store ? &*store : nullptr, {.local_ranks = ranks});
    for (const std::int64_t step : {2, 4}) {
      const auto value = torch::full({10}, static_cast<double>(group.rank() + step));
      saver.save(step, 0, part_of(fmt::format("part{}", group.rank()), value));
    }
    saver.finish();
  });
  EXPECT_EQ(list_checkpoints(out()).size(), 2u);
  EXPECT_FALSE(find_damage(out() / "checkpoint-4"));
  EXPECT_EQ(read_manifest(out() / "checkpoint-4").files.size(), 3u);
  EXPECT_EQ(stored(out() / "checkpoint-4/part2.safetensors", "part2")[0].item<float>(), 6);
}

TEST_F(Saver, AFileThatTheKeeperDoesNotSeeIsNamed) {
  std::filesystem::create_directories(out() / "checkpoint");
  write_file_atomically(out() / "checkpoint/part", "short");
  try {
    make_manifest(out() / "checkpoint", 1, {{"part", 100, "00"}});
    FAIL() << "nothing was thrown";
  } catch (const MachineError& error) {
    EXPECT_THAT(error.what(), HasSubstr("expected part of 100 bytes in"));
    EXPECT_THAT(error.what(), HasSubstr("all machines share"));
  }
}

// Four ranks, two machines with a disk each: every disk gets a checkpoint of its own.
TEST_F(Saver, EveryDiskKeepsACheckpointOfItsRanks) {
  run_ranks(4, [&](ProcessGroup& group) {
    const auto mine = out() / (group.rank() % 2 == 0 ? "even" : "odd");
    const SharedDisks disks = SharedDisks::find(group, mine);
    EXPECT_EQ(disks.count(), 2);
    EXPECT_EQ(disks.keeper_of(group.rank()), group.rank() % 2);
    EXPECT_EQ(disks.place_of(group.rank()), group.rank() / 2);
    EXPECT_EQ(disks.writers_beside(group.rank()), 2);
    std::optional<CheckpointStore> store;
    if (disks.keeps(group.rank())) store.emplace(mine);
    CheckpointSaver saver(group, disks, store ? &*store : nullptr, {});
    for (const std::int64_t step : {2, 4})
      saver.save(step, 0, part_of(fmt::format("part{}", group.rank()), torch::ones({10})));
    saver.finish();
    EXPECT_EQ(newest_common_checkpoint(group, disks, mine), mine / "checkpoint-4");
    if (group.rank() == 1) std::filesystem::remove(mine / "checkpoint-4/part3.safetensors");
    group.gather_texts("removed", "the damage");
    EXPECT_EQ(newest_common_checkpoint(group, disks, mine), mine / "checkpoint-2");
    if (group.rank() == 0) store->remove_all();
    group.gather_texts("removed", "the end of all checkpoints");
    EXPECT_FALSE(newest_common_checkpoint(group, disks, mine));
  });
  const auto manifest = read_manifest(out() / "odd/checkpoint-2");
  ASSERT_EQ(manifest.files.size(), 2u);
  EXPECT_EQ(manifest.files[1].path, "part3.safetensors");
}

}  // namespace
}  // namespace baichuan
