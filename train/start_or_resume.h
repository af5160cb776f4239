// Whether a run starts anew or goes on from a checkpoint of its output directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>

#include "train/training_options.h"

namespace baichuan {

// Does --resume_from_checkpoint ask for a checkpoint?
bool resumes(const LoggingOptions& logging);

// Throws CheckpointError when the run would start anew beside checkpoints that nobody has said to overwrite.
void require_startable(const LoggingOptions& logging);

// Ranks that a launcher has started again (restart_count > 0) go on from the newest valid checkpoint; where there is
// none, the options of the first start hold. Says so in the log; `max_restarts` 0: how many there may be is not known.
void apply_restart(LoggingOptions& logging,
                   std::int64_t restart_count,
                   std::int64_t max_restarts,
                   const std::optional<std::filesystem::path>& newest_valid);

// The checkpoints that an output directory holds now.
class EarlierCheckpoints {
 public:
  explicit EarlierCheckpoints(const std::filesystem::path& output_dir);

  // Whether any of them is still there as it was: a run that was to overwrite them has not begun to.
  bool any_left() const;

 private:
  std::map<std::filesystem::path, std::filesystem::file_time_type> written_;  // by manifest
};

}  // namespace baichuan
