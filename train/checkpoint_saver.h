// Checkpoints that are written while training goes on. save() copies this rank's part into host memory, where there is
// room for it, and a thread writes, syncs and sums it; then the rank leaves word in the store. The rank that keeps the
// directory makes it a checkpoint once all have: writes the manifest and renames it (CheckpointStore). No collective
// takes part, and no other thread than the caller's speaks to other ranks.
//
//   saver.save(step, bytes, part);    // every rank
//   … steps; after each: saver.poll();
//   saver.finish();                   // every rank; also at the beginning of the next save()
//
// A run that dies in between goes on from the checkpoint before.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "train/checkpoint_part.h"

namespace baichuan {

class CheckpointStore;
class ProcessGroup;
class SharedDisks;

struct CheckpointSaverOptions {
  bool in_background = true;
  std::int64_t local_ranks = 1;               // share this machine's memory
  std::function<void()> on_complete = [] {};  // of the rank that keeps the directory
};

class CheckpointSaver {
 public:
  // `store` is of the ranks that keep a directory, null on the others. All must outlive the object.
  CheckpointSaver(ProcessGroup& group,
                  const SharedDisks& disks,
                  CheckpointStore* store,
                  CheckpointSaverOptions options);
  // What is not complete is removed.
  ~CheckpointSaver();
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  // The bytes are those of all ranks that share this rank's disk; MachineError when it has no room.
  void save(std::int64_t step, std::uint64_t expected_bytes, CheckpointPart part);
  // Never waits. Throws what has stopped this rank's writing.
  void poll();
  // Returns when the checkpoint under way is there.
  void finish();

 private:
  struct UnderWay;
  void tell(bool wait);
  void complete();

  ProcessGroup& group_;
  const SharedDisks& disks_;
  CheckpointStore* store_;
  CheckpointSaverOptions options_;
  std::unique_ptr<UnderWay> under_way_;
  std::int64_t rounds_ = 0;
};

}  // namespace baichuan
