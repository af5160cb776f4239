#include "train/start_or_resume.h"

#include <algorithm>

#include "core/log.h"
#include "train/checkpoint_manifest.h"
#include "train/checkpoint_store.h"

namespace baichuan {

namespace fs = std::filesystem;

bool resumes(const LoggingOptions& logging) {
  return logging.resume_from_checkpoint.value_or("false") != "false";
}

void require_startable(const LoggingOptions& logging) {
  if (!resumes(logging) && !logging.overwrite_output_dir) require_no_checkpoints(logging.output_dir);
}

void apply_restart(LoggingOptions& logging,
                   std::int64_t restart_count,
                   std::int64_t max_restarts,
                   const std::optional<fs::path>& newest_valid) {
  if (restart_count == 0) return;
  const std::string of_all = max_restarts > 0 ? fmt::format(" of {}", max_restarts) : "";
  std::string origin = resumes(logging) ? *logging.resume_from_checkpoint : "the beginning";
  if (newest_valid) {
    logging.resume_from_checkpoint = newest_valid->string();
    origin = newest_valid->filename().string();
  }
  log::info("restart {}{} from {}", restart_count, of_all, origin);
}

EarlierCheckpoints::EarlierCheckpoints(const fs::path& output_dir) {
  for (const auto& checkpoint : list_checkpoints(output_dir)) {
    const fs::path manifest = checkpoint.directory / kManifestName;
    written_[manifest] = fs::last_write_time(manifest);
  }
}

bool EarlierCheckpoints::any_left() const {
  return std::any_of(written_.begin(), written_.end(), [](const auto& earlier) {
    std::error_code gone;
    return fs::last_write_time(earlier.first, gone) == earlier.second && !gone;
  });
}

}  // namespace baichuan
