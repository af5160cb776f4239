// The checkpoints of one output directory. `checkpoint-<step>` is complete or absent at every moment:
//   1. CheckpointStore::begin() makes a directory under a temporary name,
//   2. the caller writes its files into it,
//   3. PendingCheckpoint::finish() syncs every file, writes the manifest last, syncs, renames, syncs the parent.
// Deleting goes the other way round: renamed to a temporary name first. Temporaries of killed runs are removed when
// the next run opens the directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "train/checkpoint_manifest.h"

namespace baichuan {

struct CheckpointInfo {
  std::int64_t step = 0;
  std::filesystem::path directory;
};

// Directories `checkpoint-<step>` that hold a manifest, by step.
std::vector<CheckpointInfo> list_checkpoints(const std::filesystem::path& output_dir);

// True when there is any `checkpoint-<step>` directory, the Python stack's included.
bool holds_checkpoint(const std::filesystem::path& output_dir);

// What shows that a directory is a checkpoint of the Python stack ("optimizer.pt", "global_step100"); empty when
// it is not.
std::string python_stack_mark(const std::filesystem::path& checkpoint);

// Throws CheckpointError when `checkpoint` cannot be resumed from: not a directory, a checkpoint of the Python stack,
// or damaged; then it names the damaged file, and the newest undamaged one before it.
void verify_checkpoint(const std::filesystem::path& checkpoint);

// The newest checkpoint without damage, of those before `before_step` if that is given. Reads whole files.
std::optional<CheckpointInfo> newest_valid_checkpoint(const std::filesystem::path& output_dir,
                                                      std::optional<std::int64_t> before_step = {});

// The checkpoint that --resume_from_checkpoint names: a directory, or "latest" or "true" for the newest of
// `output_dir`. It is verified. Throws CheckpointError.
std::filesystem::path resolve_resume_checkpoint(const std::filesystem::path& output_dir, const std::string& value);

// Throws CheckpointError when `output_dir` holds a checkpoint that a new run would mix with its own.
void require_no_checkpoints(const std::filesystem::path& output_dir);

// A checkpoint that is being written. Without finish() the destructor removes it.
class PendingCheckpoint {
 public:
  PendingCheckpoint(PendingCheckpoint&& other) noexcept;
  PendingCheckpoint& operator=(PendingCheckpoint&&) = delete;
  ~PendingCheckpoint();

  // Where the caller writes its files, subdirectories allowed.
  const std::filesystem::path& directory() const { return temporary_; }

  // Makes it visible as `checkpoint-<step>`, in the place of one of the same step if there is one, and returns that
  // path. `known`: files that are synced and summed already. Throws MachineError; then nothing has changed for the
  // other checkpoints.
  std::filesystem::path finish(const std::vector<ManifestEntry>& known = {});

 private:
  friend class CheckpointStore;
  PendingCheckpoint(std::filesystem::path output_dir, std::int64_t step, bool exchange);

  std::filesystem::path output_dir_;
  std::int64_t step_;
  bool exchange_;
  std::filesystem::path temporary_;
};

class CheckpointStore {
 public:
  // Makes the directory, locks it for this run (MachineError while another one holds it; file systems without locks
  // are taken as they are), and removes what killed runs have left.
  // exchange = false keeps to plain renames, as on file systems that cannot swap two directories.
  explicit CheckpointStore(std::filesystem::path output_dir, bool exchange = true);
  ~CheckpointStore();
  CheckpointStore(const CheckpointStore&) = delete;
  CheckpointStore& operator=(const CheckpointStore&) = delete;

  // expected_bytes: what will be written; MachineError now when the disk has no room for it.
  PendingCheckpoint begin(std::int64_t step, std::uint64_t expected_bytes);

  // Deletes the oldest (by step) until at most `limit` are left, but never the best, nor the newest: with limit 1
  // and a best one that is not the newest two stay, so that the run can be resumed. Once training is over
  // (`finished`), limit 1 leaves the best alone. No limit: nothing happens. Checkpoints of the Python stack are
  // neither counted nor deleted.
  void rotate(std::optional<std::int64_t> limit, std::optional<std::int64_t> best_step, bool finished = false);

  // For --overwrite_output_dir: every `checkpoint-<step>`, the Python stack's included.
  void remove_all();

 private:
  void remove_checkpoint(const std::filesystem::path& directory);
  void remove_leftovers();

  std::filesystem::path output_dir_;
  bool exchange_;
  int lock_fd_ = -1;
};

}  // namespace baichuan
