#include "train/checkpoint_store.h"

#include <csignal>
#include <functional>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file_events.h"
#include "core/files.h"
#include "core/log.h"
#include "tests/scratch_directory.h"
#include "train/checkpoint_manifest.h"

namespace baichuan {
namespace {

// Where syncing costs nothing, for the tests that do it thousands of times.
fs::path memory_file_system() {
  return fs::is_directory("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path();
}

std::vector<std::int64_t> steps(const fs::path& output_dir) {
  std::vector<std::int64_t> found;
  for (const auto& checkpoint : list_checkpoints(output_dir)) found.push_back(checkpoint.step);
  return found;
}

fs::path save(CheckpointStore& store, std::int64_t step, const std::string& content = "weights") {
  PendingCheckpoint pending = store.begin(step, 100);
  write_file_atomically(pending.directory() / "adapter_model.safetensors", content);
  fs::create_directory(pending.directory() / "state");
  write_file_atomically(pending.directory() / "state" / "optimizer.safetensors", fmt::format("state of {}", step));
  return pending.finish();
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void overwrite(const fs::path& path, const std::string& content) {
  fs::remove(path);
  write_file_atomically(path, content);
}

std::vector<std::string> hidden_entries(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    if (const auto name = entry.path().filename().string(); name.starts_with(".")) names.push_back(name);
  return names;
}

TEST(CheckpointManifest, ChecksumsAreXxh3Of128Bits) {
  ScratchDirectory out;
  write_file_atomically(out / "empty", "");
  EXPECT_EQ(file_checksum(out / "empty"), "99aa06d3014798d86001c324468d497f");  // the published value
  write_file_atomically(out / "a", "a");
  write_file_atomically(out / "b", "b");
  EXPECT_NE(file_checksum(out / "a"), file_checksum(out / "b"));
}

TEST(CheckpointStore, ACheckpointAppearsOnlyWhenItIsFinished) {
  ScratchDirectory out;
  CheckpointStore store(out.path());
  PendingCheckpoint pending = store.begin(4, 100);
  write_file_atomically(pending.directory() / "weights", "abc");
  EXPECT_FALSE(fs::exists(out / "checkpoint-4"));
  EXPECT_FALSE(holds_checkpoint(out.path()));
  EXPECT_EQ(pending.finish(), out / "checkpoint-4");
  EXPECT_EQ(read_file(out / "checkpoint-4/weights"), "abc");
  EXPECT_NO_THROW(verify_checkpoint(out / "checkpoint-4"));
  EXPECT_TRUE(hidden_entries(out.path()).empty());
}

TEST(CheckpointStore, AnAbandonedOneLeavesNothing) {
  ScratchDirectory out;
  CheckpointStore store(out.path());
  { const PendingCheckpoint pending = store.begin(4, 100); }
  EXPECT_TRUE(fs::is_empty(out.path()));
}

TEST(CheckpointStore, ListsByStepNotByName) {
  ScratchDirectory out;
  CheckpointStore store(out.path());
  for (const int step : {1000, 9, 20}) save(store, step);
  fs::create_directory(out / "checkpoint-x");
  fs::create_directory(out / "checkpoint-5");  // of no manifest
  EXPECT_EQ(steps(out.path()), (std::vector<std::int64_t>{9, 20, 1000}));
  EXPECT_EQ(newest_valid_checkpoint(out.path())->step, 1000);
  EXPECT_EQ(newest_valid_checkpoint(out.path(), 20)->step, 9);
  EXPECT_FALSE(newest_valid_checkpoint(out.path(), 9));
}

TEST(CheckpointStore, SavingAStepAgainReplacesIt) {
  for (const bool exchange : {true, false}) {
    ScratchDirectory out;
    CheckpointStore store(out.path(), exchange);
    save(store, 8, "old");
    save(store, 8, "new");
    EXPECT_EQ(read_file(out / "checkpoint-8/adapter_model.safetensors"), "new");
    EXPECT_NO_THROW(verify_checkpoint(out / "checkpoint-8"));
    EXPECT_TRUE(hidden_entries(out.path()).empty());
  }
}

TEST(VerifyCheckpoint, NamesTheMissingFileAndOffersTheCheckpointBefore) {
  ScratchDirectory out;
  CheckpointStore store(out.path());
  for (const int step : {4, 8, 12}) save(store, step);
  fs::remove(out / "checkpoint-12/state/optimizer.safetensors");
  const std::string root = out.path().string();
  const std::string expected = "the checkpoint " + root + "/checkpoint-12 cannot be resumed: " + root +
                               "/checkpoint-12/state/optimizer.safetensors is missing; give --resume_from_checkpoint " +
                               root + "/checkpoint-8 instead, the newest undamaged one before it";
  EXPECT_EQ(message_of([&] { verify_checkpoint(out / "checkpoint-12"); }), expected);
  EXPECT_EQ(message_of([&] { resolve_resume_checkpoint(out.path(), "latest"); }), expected);
}

TEST(VerifyCheckpoint, NamesAFileOfAnotherSizeOrContent) {
  ScratchDirectory out;
  CheckpointStore store(out.path());
  save(store, 4, "weights");
  save(store, 8, "weights");
  overwrite(out / "checkpoint-8/adapter_model.safetensors", "weight");
  EXPECT_NE(message_of([&] {
              verify_checkpoint(out / "checkpoint-8");
            }).find("adapter_model.safetensors has 6 bytes where 7 were written; give"),
            std::string::npos);
  overwrite(out / "checkpoint-4/adapter_model.safetensors", "Weights");
  const std::string message = message_of([&] { verify_checkpoint(out / "checkpoint-4"); });
  EXPECT_NE(message.find("adapter_model.safetensors has changed since it was written (XXH3-128 "), std::string::npos);
  EXPECT_TRUE(message.ends_with("there is no undamaged one before it: start anew, or bring the file back")) << message;
  EXPECT_FALSE(newest_valid_checkpoint(out.path()));
  EXPECT_FALSE(find_damage(out / "checkpoint-4", /*checksums=*/false)) << "sizes alone do not tell";
}

TEST(VerifyCheckpoint, RefusesADamagedOrMissingManifest) {
  ScratchDirectory out;
  CheckpointStore store(out.path());
  save(store, 4);
  overwrite(out / "checkpoint-4/manifest.json", "{\"format\": 1, \"st");
  EXPECT_NE(message_of([&] { verify_checkpoint(out / "checkpoint-4"); }).find("manifest.json is damaged: "),
            std::string::npos);
  overwrite(out / "checkpoint-4/manifest.json", "{\"format\": 2}");
  EXPECT_NE(message_of([&] {
              verify_checkpoint(out / "checkpoint-4");
            }).find("manifest.json must have format 1; found 2; it was written by another version of baichuan"),
            std::string::npos);
  fs::remove(out / "checkpoint-4/manifest.json");
  EXPECT_NE(message_of([&] {
              verify_checkpoint(out / "checkpoint-4");
            }).find("a complete checkpoint holds manifest.json; " + (out / "checkpoint-4").string() + " has none"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              verify_checkpoint(out / "nowhere");
            }).find("--resume_from_checkpoint must name a checkpoint directory, latest or true; "),
            std::string::npos);
}

TEST(VerifyCheckpoint, RefusesCheckpointsOfThePythonStackByName) {
  for (const char* mark : {"optimizer.pt", "global_step12", "rng_state.pth"}) {
    ScratchDirectory out;
    fs::create_directory(out / "checkpoint-12");
    if (std::string_view(mark).starts_with("global"))
      fs::create_directory(out / "checkpoint-12" / mark);
    else
      write_file_atomically(out / "checkpoint-12" / mark, "x");
    EXPECT_EQ(message_of([&] { resolve_resume_checkpoint(out.path(), (out / "checkpoint-12").string()); }),
              (out / "checkpoint-12").string() + " holds " + mark +
                  ": it is a checkpoint of the Python stack, which loads as weights (--model_name_or_path) or adapter "
                  "(--adapter_name_or_path) but cannot be resumed");
    EXPECT_TRUE(holds_checkpoint(out.path()));
    EXPECT_TRUE(list_checkpoints(out.path()).empty());
  }
}

TEST(ResolveResume, TakesADirectoryOrTheNewest) {
  ScratchDirectory out;
  CheckpointStore store(out.path());
  for (const int step : {4, 8}) save(store, step);
  EXPECT_EQ(resolve_resume_checkpoint(out.path(), "latest"), out / "checkpoint-8");
  EXPECT_EQ(resolve_resume_checkpoint(out.path(), "True"), out / "checkpoint-8");
  EXPECT_EQ(resolve_resume_checkpoint("/nowhere", (out / "checkpoint-4").string()), out / "checkpoint-4");
  EXPECT_EQ(message_of([&] { resolve_resume_checkpoint("/nowhere", "latest"); }),
            "--resume_from_checkpoint latest needs a checkpoint-<step> in /nowhere; there is none; leave the flag out "
            "to start anew");
}

TEST(RequireNoCheckpoints, NamesBothWaysOut) {
  ScratchDirectory out;
  EXPECT_NO_THROW(require_no_checkpoints(out.path()));
  CheckpointStore store(out.path());
  save(store, 4);
  EXPECT_EQ(message_of([&] { require_no_checkpoints(out.path()); }),
            "--output_dir " + out.path().string() +
                " must not hold a checkpoint of an earlier run; found checkpoint-4; give --resume_from_checkpoint "
                "latest to go on from it, or --overwrite_output_dir to start anew");
}

TEST(CheckpointStore, OneRunAtATimeWritesToADirectory) {
  ScratchDirectory out;
  const CheckpointStore first(out.path());
  EXPECT_EQ(message_of([&] { CheckpointStore second(out.path()); }),
            "one run at a time can write to " + out.path().string() +
                "; another one is at work there; wait for it or choose another --output_dir");
}

TEST(CheckpointStore, RemovesOnlyWhatKilledRunsLeave) {
  ScratchDirectory out;
  fs::create_directory(out / ".checkpoint-8.123.0.tmp");
  fs::create_directory(out / ".checkpoint-4.123.1.old");
  write_file_atomically(out / ".checkpoint-4.123.1.old/weights", "of the last good one");
  write_file_atomically(out / ".trainer_state.json.123.4.tmp", "{");
  for (const char* own : {".notes", ".cache.tmp", ".x.1.tmp", "a.1.2.tmp", ".1.2.tmp"})
    write_file_atomically(out / own, "the user's");
  { CheckpointStore store(out.path()); }
  EXPECT_EQ(hidden_entries(out.path()).size(), 4u);
  EXPECT_TRUE(fs::exists(out / "a.1.2.tmp"));
  EXPECT_FALSE(fs::exists(out / ".checkpoint-8.123.0.tmp"));
  EXPECT_EQ(read_file(out / "checkpoint-4/weights"), "of the last good one");
}

TEST(CheckpointStore, AFullDiskIsNoticedBeforeTheStart) {
  ScratchDirectory out;
  CheckpointStore store(out.path());
  const std::string message = message_of([&] { store.begin(7, std::uint64_t{1} << 60); });
  EXPECT_TRUE(message.starts_with("checkpoint-7 needs 1152921504623 MB on the disk of " + out.path().string()))
      << message;
  EXPECT_TRUE(fs::is_empty(out.path()));
}

TEST(CheckpointStore, AnOutputDirectoryThatCannotBeMadeIsNamed) {
  EXPECT_EQ(message_of([&] { CheckpointStore store("/dev/null/out"); }),
            "cannot create the output directory /dev/null/out: Not a directory; choose another --output_dir");
}

struct RotationCase {
  std::vector<int> saved;
  std::optional<std::int64_t> limit;
  std::optional<std::int64_t> best;
  bool finished;
  std::vector<std::int64_t> left;
};

TEST(CheckpointStore, RotationKeepsTheNewestAndTheBest) {
  const std::vector<RotationCase> cases{
      {{4, 8, 12}, {}, {}, false, {4, 8, 12}},
      {{4, 8, 12}, 0, {}, false, {4, 8, 12}},
      {{4, 8, 12}, 2, {}, false, {8, 12}},
      {{4, 8, 12}, 1, {}, false, {12}},
      {{4, 8, 12}, 2, 4, false, {4, 12}},
      {{4, 8, 12}, 1, 4, false, {4, 12}},  // two stay: the best, and the one to resume from
      {{4, 8, 12}, 1, 12, false, {12}},
      {{4, 8, 12}, 1, 4, true, {4}},
      {{4, 8, 12}, 2, 4, true, {4, 12}},
      {{4, 8, 12}, 1, 99, true, {12}},  // the best is elsewhere
      {{9, 1000, 20}, 2, {}, false, {20, 1000}},
      {{}, 2, {}, false, {}},
  };
  for (const auto& [saved, limit, best, finished, left] : cases) {
    ScratchDirectory out(memory_file_system());
    CheckpointStore store(out.path());
    for (const int step : saved) save(store, step);
    store.rotate(limit, best, finished);
    EXPECT_EQ(steps(out.path()), left) << "limit " << limit.value_or(-1) << " best " << best.value_or(-1);
    EXPECT_TRUE(hidden_entries(out.path()).empty());
  }
}

TEST(CheckpointStore, RotationLeavesThePythonStacksAlone) {
  ScratchDirectory out;
  fs::create_directory(out / "checkpoint-2");
  write_file_atomically(out / "checkpoint-2/optimizer.pt", "x");
  CheckpointStore store(out.path());
  save(store, 4);
  save(store, 8);
  store.rotate(1, {});
  EXPECT_TRUE(fs::exists(out / "checkpoint-2/optimizer.pt"));
  EXPECT_EQ(steps(out.path()), (std::vector<std::int64_t>{8}));
  store.remove_all();
  EXPECT_FALSE(holds_checkpoint(out.path()));
}

// ---- killed at any moment -------------------------------------------------------------------------------------

// Runs `action` in a child that is killed at its n-th file operation; false when it got to its end.
bool killed_at(long n, const std::function<void()>& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("BAICHUAN_CRASH_AT", std::to_string(n).c_str(), 1);
    set_file_event_hook({});
    log::set_level(log::Level::kOff);
    int status = 0;
    try {
      action();
    } catch (...) {
      status = 1;
    }
    ::_exit(status);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return true;
  EXPECT_EQ(WEXITSTATUS(status), 0);
  return false;
}

class KilledRun : public testing::TestWithParam<bool> {};

// Law: whichever operation of saving 12, saving 8 again and rotating to two is the last, every visible checkpoint is
// whole, the newest one of before is still there, and the next start leaves no temporaries.
TEST_P(KilledRun, LeavesOnlyWholeCheckpointsAndLosesNone) {
  const bool exchange = GetParam();
  long n = 1;
  for (bool killed = true; killed; ++n) {
    ScratchDirectory out(memory_file_system());
    {
      CheckpointStore store(out.path(), exchange);
      save(store, 4, "four");
      save(store, 8, "eight");
    }
    killed = killed_at(n, [&] {
      CheckpointStore store(out.path(), exchange);
      save(store, 12, "twelve");
      save(store, 8, "eight again");
      store.rotate(2, {});
    });
    // Before any clean-up: what the next run would see if it only reads.
    for (const auto& checkpoint : list_checkpoints(out.path()))
      EXPECT_FALSE(find_damage(checkpoint.directory)) << "killed at " << n;
    log::set_level(log::Level::kOff);
    { CheckpointStore store(out.path(), exchange); }
    log::set_level(log::Level::kInfo);
    EXPECT_TRUE(hidden_entries(out.path()).empty()) << "killed at " << n;
    const auto left = list_checkpoints(out.path());
    for (const auto& checkpoint : left) EXPECT_FALSE(find_damage(checkpoint.directory)) << "killed at " << n;
    ASSERT_GE(left.size(), 2u) << "killed at " << n;
    EXPECT_GE(left.back().step, 8);
    EXPECT_TRUE(fs::exists(out / "checkpoint-8")) << "killed at " << n;
    for (const auto& entry : fs::directory_iterator(out.path()))
      EXPECT_TRUE(fs::exists(entry.path() / "manifest.json")) << entry.path() << " killed at " << n;
  }
  EXPECT_GT(n, 50) << "the hook counts the operations";
}
INSTANTIATE_TEST_SUITE_P(ExchangeOrPlainRename, KilledRun, testing::Bool());

TEST(CheckpointStore, SyncsFilesThenManifestThenNameThenParent) {
  ScratchDirectory out;
  CheckpointStore store(out.path());
  PendingCheckpoint pending = store.begin(4, 100);
  write_file_atomically(pending.directory() / "weights", "abc");
  std::vector<std::string> seen;
  set_file_event_hook([&](std::string_view operation, const fs::path& path) {
    const auto name = path.filename().string();
    seen.push_back(fmt::format("{} {}", operation, name.starts_with(".checkpoint") ? "temporary" : name));
  });
  pending.finish();
  set_file_event_hook({});
  EXPECT_EQ(seen, (std::vector<std::string>{"sync weights", "create manifest.json", "write manifest.json",
                                            "sync manifest.json", "rename manifest.json", "sync temporary",
                                            "rename checkpoint-4", "sync " + out.path().filename().string()}));
}

// ---- full disk --------------------------------------------------------------------------------------------------

// Law: whichever operation finds the disk full, the run learns of it and the checkpoints of before are whole.
TEST(FullDisk, AtAnyOperationCostsNoCheckpoint) {
  log::set_level(log::Level::kOff);
  long n = 1;
  for (bool failed = true; failed; ++n) {
    ScratchDirectory out(memory_file_system());
    CheckpointStore store(out.path());
    save(store, 4, "four");
    save(store, 8, "eight");
    long count = 0;
    failed = false;
    set_file_event_hook([&](std::string_view operation, const fs::path& path) {
      if (operation != "remove" && ++count >= n) {
        failed = true;
        throw MachineError("cannot {} {}: No space left on device", operation, path.string());
      }
    });
    const std::string message = message_of([&] {
      save(store, 12, "twelve");
      save(store, 8, "eight again");
    });
    set_file_event_hook({});
    EXPECT_EQ(message == "no error", !failed) << n;
    for (const auto& checkpoint : list_checkpoints(out.path())) EXPECT_FALSE(find_damage(checkpoint.directory)) << n;
    EXPECT_TRUE(fs::exists(out / "checkpoint-4")) << n;
    EXPECT_TRUE(fs::exists(out / "checkpoint-8")) << n;
  }
  log::set_level(log::Level::kInfo);
  EXPECT_GT(n, 25);
}

// A small file system that really fills up, where it may be mounted; the test after this one needs no rights.
TEST(FullDisk, IsReportedByTheKernelAndSurvived) {
  ScratchDirectory mount_point;
  if (::mount("tmpfs", mount_point.path().c_str(), "tmpfs", 0, "size=24m") != 0) return;
  {
    const fs::path out = mount_point / "out";
    CheckpointStore store(out);
    save(store, 4, std::string(2 << 20, 'x'));
    // The estimate was too low: the disk fills up in the middle.
    const std::string message = message_of([&] { save(store, 8, std::string(23 << 20, 'y')); });
    EXPECT_NE(message.find("No space left on device; free some disk space or choose another folder"), std::string::npos)
        << message;
    EXPECT_EQ(steps(out), (std::vector<std::int64_t>{4}));
    EXPECT_NO_THROW(verify_checkpoint(out / "checkpoint-4"));
    EXPECT_TRUE(hidden_entries(out).empty());
    save(store, 8, std::string(2 << 20, 'y'));
    EXPECT_EQ(steps(out), (std::vector<std::int64_t>{4, 8}));
  }
  ::umount(mount_point.path().c_str());
}

// What a quota or a limit of the file size does, without root.
TEST(FullDisk, ALimitOfTheFileSizeIsSurvived) {
  ScratchDirectory out;
  CheckpointStore store(out.path());
  save(store, 4);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  rlimit tight = before;
  tight.rlim_cur = 1 << 16;
  ::setrlimit(RLIMIT_FSIZE, &tight);
  const std::string message = message_of([&] { save(store, 8, std::string(1 << 20, 'y')); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_DFL);
  EXPECT_NE(message.find("adapter_model.safetensors: File too large"), std::string::npos) << message;
  EXPECT_EQ(steps(out.path()), (std::vector<std::int64_t>{4}));
  EXPECT_TRUE(hidden_entries(out.path()).empty());
}

}  // namespace
}  // namespace baichuan
