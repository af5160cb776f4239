#include "train/shared_disks.h"

#include <algorithm>
#include <charconv>
#include <random>
#include <string>

#include <fmt/format.h>

#include "core/files.h"
#include "distributed/process_group.h"
#include "train/checkpoint_store.h"

namespace baichuan {

namespace {

constexpr std::int64_t kNobody = -1;
constexpr const char* kNone = "none";

// A name that no other run, and no earlier round, has used.
std::string fresh_name() {
  std::random_device random;
  return fmt::format(".seen-{:08x}{:08x}", random(), random());
}

std::int64_t to_number(const std::string& text) {
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

SharedDisks::SharedDisks(std::int64_t ranks) : keepers_(static_cast<std::size_t>(ranks), 0) {}

SharedDisks SharedDisks::find(ProcessGroup& group, const fs::path& output_dir) {
  SharedDisks disks(group.size());
  if (group.size() == 1) return disks;
  auto& keepers = disks.keepers_;
  std::fill(keepers.begin(), keepers.end(), kNobody);
  for (;;) {
    const auto next = std::find(keepers.begin(), keepers.end(), kNobody);
    if (next == keepers.end()) return disks;
    const std::int64_t keeper = next - keepers.begin();
    std::string mark;
    if (group.rank() == keeper) {
      fs::create_directories(output_dir);
      mark = fresh_name();
      write_file_atomically(output_dir / mark, "");
    }
    mark = group.gather_texts(mark, "the output directory")[static_cast<std::size_t>(keeper)];
    const bool sees = keepers[static_cast<std::size_t>(group.rank())] == kNobody && fs::exists(output_dir / mark);
    const auto answers = group.gather_texts(sees ? "sees" : "", "a look at the output directory");
    for (std::size_t r = 0; r < keepers.size(); ++r)
      if (!answers[r].empty()) keepers[r] = keeper;
    if (group.rank() == keeper) remove_quietly(output_dir / mark);
  }
}

std::int64_t SharedDisks::writers_beside(std::int64_t rank) const {
  return std::count(keepers_.begin(), keepers_.end(), keeper_of(rank));
}

std::int64_t SharedDisks::place_of(std::int64_t rank) const {
  return std::count(keepers_.begin(), keepers_.begin() + rank, keeper_of(rank));
}

std::int64_t SharedDisks::count() const {
  std::int64_t count = 0;
  for (std::size_t r = 0; r < keepers_.size(); ++r)
    if (keeps(static_cast<std::int64_t>(r))) ++count;
  return count;
}

std::optional<fs::path> newest_common_checkpoint(ProcessGroup& group,
                                                 const SharedDisks& disks,
                                                 const fs::path& output_dir) {
  std::optional<std::int64_t> before;
  for (;;) {
    std::string own;
    if (disks.keeps(group.rank())) {
      const AtWork at_work(group, "looking for a checkpoint to go on from");
      const auto newest = newest_valid_checkpoint(output_dir, before);
      own = newest ? std::to_string(newest->step) : kNone;
    }
    std::vector<std::int64_t> steps;
    for (const auto& text : group.gather_texts(own, "the checkpoints of all machines")) {
      if (text == kNone) return {};
      if (!text.empty()) steps.push_back(to_number(text));
    }
    const auto [lowest, highest] = std::minmax_element(steps.begin(), steps.end());
    if (*lowest == *highest) return output_dir / fmt::format("checkpoint-{}", *lowest);
    before = *lowest + 1;
  }
}

}  // namespace baichuan
