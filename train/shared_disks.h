// Which ranks see the same output directory. Machines of a run share a file system, or each has its own: then each
// keeps checkpoints of its own, with all weights and the optimiser's state of its ranks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace baichuan {

class ProcessGroup;

class SharedDisks {
 public:
  // One disk for all: kept by rank 0.
  explicit SharedDisks(std::int64_t ranks);
  // Asks: a keeper leaves a file, the others look for it. A collective; makes the directory on every disk.
  static SharedDisks find(ProcessGroup& group, const std::filesystem::path& output_dir);

  // The rank that keeps the directory that `rank` writes to: the lowest that sees it.
  std::int64_t keeper_of(std::int64_t rank) const { return keepers_[static_cast<std::size_t>(rank)]; }
  bool keeps(std::int64_t rank) const { return keeper_of(rank) == rank; }
  // Ranks that write to the same directory as `rank`, and its place among them.
  std::int64_t writers_beside(std::int64_t rank) const;
  std::int64_t place_of(std::int64_t rank) const;
  std::int64_t count() const;

 private:
  std::vector<std::int64_t> keepers_;  // of each rank
};

// The newest checkpoint of which every disk has an undamaged one. A collective; reads whole checkpoints.
std::optional<std::filesystem::path> newest_common_checkpoint(ProcessGroup& group,
                                                              const SharedDisks& disks,
                                                              const std::filesystem::path& output_dir);

}  // namespace baichuan
