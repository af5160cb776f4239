#include "train/checkpoint_store.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file_events.h"
#include "core/files.h"
#include "core/io_error.h"
#include "core/log.h"
#include "train/checkpoint_manifest.h"

namespace baichuan {

namespace {

constexpr std::string_view kPrefix = "checkpoint-";
// File systems keep some blocks for themselves, and logs grow beside the checkpoint.
constexpr std::uint64_t kSpareBytes = std::uint64_t{16} << 20;

// The step in `checkpoint-<step>`; empty for other names.
std::optional<std::int64_t> step_of(const fs::path& directory) {
  const std::string name = directory.filename().string();
  if (!name.starts_with(kPrefix) || name.size() == kPrefix.size()) return {};
  std::int64_t step = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, failure] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (failure != std::errc() || stop != end || step < 0) return {};
  return step;
}

// Every `checkpoint-<step>` directory, complete or not, by step.
std::vector<CheckpointInfo> checkpoint_directories(const fs::path& output_dir) {
  std::vector<CheckpointInfo> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(output_dir, ignored))
    if (const auto step = step_of(entry.path()); step && entry.is_directory()) found.push_back({*step, entry.path()});
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

fs::path final_path(const fs::path& output_dir, std::int64_t step) {
  return output_dir / fmt::format("{}{}", kPrefix, step);
}

// Hidden, and no name that any tool takes for a checkpoint. ".old" is what a plain rename has moved out of the way
// of its successor; it comes back if the successor never arrived.
fs::path temporary_path(const fs::path& output_dir, std::int64_t step, const char* suffix) {
  static std::atomic<unsigned> counter{0};
  return output_dir / fmt::format(".{}{}.{}.{}.{}", kPrefix, step, ::getpid(), counter++, suffix);
}

// ".<stem>.<pid>.<n>.<suffix>": the names that temporary_path() and AtomicFile give.
struct TemporaryName {
  std::string stem;
  std::string suffix;
};

std::optional<TemporaryName> parse_temporary(std::string_view name) {
  if (!name.starts_with('.')) return {};
  name.remove_prefix(1);
  const auto cut_last = [&name] {
    const auto dot = name.rfind('.');
    const auto part = dot == std::string_view::npos ? std::string_view() : name.substr(dot + 1);
    name = name.substr(0, dot == std::string_view::npos ? 0 : dot);
    return part;
  };
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  const auto suffix = cut_last();
  const bool numbers = is_number(cut_last()) && is_number(cut_last());
  if (!numbers || name.empty() || (suffix != "tmp" && suffix != "old")) return {};
  return TemporaryName{std::string(name), std::string(suffix)};
}

void rename_directory(const fs::path& from, const fs::path& to) {
  announce_file_event("rename", to);
  if (::rename(from.c_str(), to.c_str()) != 0) throw_io_error("rename to", to);
}

void sync_path(const fs::path& path, int flags) {
  announce_file_event("sync", path);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  if (fd < 0) throw_io_error("open", path);
  const bool ok = ::fsync(fd) == 0 || errno == EINVAL;  // some file systems cannot sync directories
  const int cause = errno;
  ::close(fd);
  errno = cause;
  if (!ok) throw_io_error("sync", path);
}

// Entry by entry, for a run can be killed at any of them.
void remove_tree(const fs::path& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.is_directory() && !entry.is_symlink()) {
      remove_tree(entry.path());
      continue;
    }
    announce_file_event("remove", entry.path());
    if (::unlink(entry.path().c_str()) != 0 && errno != ENOENT) throw_io_error("remove", entry.path());
  }
  announce_file_event("remove", directory);
  if (::rmdir(directory.c_str()) != 0 && errno != ENOENT) throw_io_error("remove", directory);
}

// The new state is on disk already: what cannot be removed now is a leftover for the next start.
void remove_unneeded(const fs::path& directory) {
  try {
    remove_tree(directory);
  } catch (const std::exception& error) {
    log::warning("{}", error.what());
  }
}

std::string offer_before(const fs::path& output_dir, std::int64_t step) {
  const auto before = newest_valid_checkpoint(output_dir, step);
  if (!before) return "there is no undamaged one before it: start anew, or bring the file back";
  return fmt::format("give --resume_from_checkpoint {} instead, the newest undamaged one before it",
                     before->directory.string());
}

}  // namespace

std::vector<CheckpointInfo> list_checkpoints(const fs::path& output_dir) {
  auto found = checkpoint_directories(output_dir);
  std::erase_if(found, [](const auto& checkpoint) { return !fs::exists(checkpoint.directory / kManifestName); });
  return found;
}

bool holds_checkpoint(const fs::path& output_dir) {
  return !checkpoint_directories(output_dir).empty();
}

std::string python_stack_mark(const fs::path& checkpoint) {
  std::error_code ignored;
  if (fs::exists(checkpoint / kManifestName, ignored)) return {};
  for (const char* name : {"optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"})
    if (fs::exists(checkpoint / name, ignored)) return name;
  for (const auto& entry : fs::directory_iterator(checkpoint, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("global_step") || name.starts_with("rng_state_")) return name;
  }
  return {};
}

void verify_checkpoint(const fs::path& checkpoint) {
  if (!fs::is_directory(checkpoint))
    throw CheckpointError(
        "--resume_from_checkpoint must name a checkpoint directory, latest or true; {} is none; "
        "look for checkpoint-<step> in the output directory",
        checkpoint.string());
  if (const std::string mark = python_stack_mark(checkpoint); !mark.empty())
    throw CheckpointError(
        "{} holds {}: it is a checkpoint of the Python stack, which loads as weights "
        "(--model_name_or_path) or adapter (--adapter_name_or_path) but cannot be resumed",
        checkpoint.string(), mark);
  const auto damage = find_damage(checkpoint);
  if (!damage) return;
  const fs::path whole = fs::absolute(checkpoint).lexically_normal();
  const fs::path directory = whole.has_filename() ? whole : whole.parent_path();
  const auto step = step_of(directory);
  if (!step) throw CheckpointError("the checkpoint {} cannot be resumed: {}", checkpoint.string(), *damage);
  // The neighbours are named as the user named this one.
  const fs::path given = checkpoint.has_filename() ? checkpoint : checkpoint.parent_path();
  throw CheckpointError("the checkpoint {} cannot be resumed: {}; {}", checkpoint.string(), *damage,
                        offer_before(given.parent_path().empty() ? "." : given.parent_path(), *step));
}

std::optional<CheckpointInfo> newest_valid_checkpoint(const fs::path& output_dir,
                                                      std::optional<std::int64_t> before_step) {
  auto checkpoints = list_checkpoints(output_dir);
  for (auto at = checkpoints.rbegin(); at != checkpoints.rend(); ++at)
    if ((!before_step || at->step < *before_step) && !find_damage(at->directory)) return *at;
  return {};
}

fs::path resolve_resume_checkpoint(const fs::path& output_dir, const std::string& value) {
  std::string lower = value;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  fs::path chosen = value;
  if (lower == "latest" || lower == "true") {
    const auto all = checkpoint_directories(output_dir);
    if (all.empty())
      throw CheckpointError(
          "--resume_from_checkpoint {} needs a checkpoint-<step> in {}; there is none; leave the "
          "flag out to start anew",
          value, output_dir.string());
    chosen = all.back().directory;
  }
  verify_checkpoint(chosen);
  return chosen;
}

void require_no_checkpoints(const fs::path& output_dir) {
  const auto found = checkpoint_directories(output_dir);
  if (found.empty()) return;
  throw CheckpointError(
      "--output_dir {} must not hold a checkpoint of an earlier run; found {}; give "
      "--resume_from_checkpoint latest to go on from it, or --overwrite_output_dir to start anew",
      output_dir.string(), found.back().directory.filename().string());
}

PendingCheckpoint::PendingCheckpoint(fs::path output_dir, std::int64_t step, bool exchange)
    : output_dir_(std::move(output_dir)),
      step_(step),
      exchange_(exchange),
      temporary_(temporary_path(output_dir_, step, "tmp")) {
  announce_file_event("create", temporary_);
  std::error_code failure;
  if (!fs::create_directory(temporary_, failure)) {
    errno = failure.value();
    throw_io_error("create", temporary_);
  }
}

PendingCheckpoint::PendingCheckpoint(PendingCheckpoint&& other) noexcept
    : output_dir_(std::move(other.output_dir_)),
      step_(other.step_),
      exchange_(other.exchange_),
      temporary_(std::exchange(other.temporary_, {})) {}

PendingCheckpoint::~PendingCheckpoint() {
  if (!temporary_.empty()) remove_quietly(temporary_);
}

fs::path PendingCheckpoint::finish(const std::vector<ManifestEntry>& known) {
  const auto is_known = [&](const std::string& name) {
    return std::any_of(known.begin(), known.end(), [&](const auto& entry) { return entry.path == name; });
  };
  for (const std::string& name : checkpoint_files(temporary_))
    if (!is_known(name)) sync_path(temporary_ / name, 0);
  for (const auto& entry : fs::recursive_directory_iterator(temporary_))
    if (entry.is_directory()) sync_path(entry.path(), O_DIRECTORY);
  write_manifest(temporary_, make_manifest(temporary_, step_, known));
  sync_path(temporary_, O_DIRECTORY);

  const fs::path target = final_path(output_dir_, step_);
  fs::path replaced;
  if (!fs::exists(target)) {
    rename_directory(temporary_, target);
  } else {
    announce_file_event("rename", target);
    if (exchange_ && ::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
      replaced = temporary_;
    } else {
      replaced = temporary_path(output_dir_, step_, "old");
      rename_directory(target, replaced);
      try {
        rename_directory(temporary_, target);
      } catch (...) {
        (void)::rename(replaced.c_str(), target.c_str());
        throw;
      }
    }
  }
  temporary_.clear();
  sync_path(output_dir_, O_DIRECTORY);
  if (!replaced.empty()) remove_unneeded(replaced);
  return target;
}

CheckpointStore::CheckpointStore(fs::path output_dir, bool exchange)
    : output_dir_(std::move(output_dir)), exchange_(exchange) {
  std::error_code failure;
  fs::create_directories(output_dir_, failure);
  if (failure)
    throw MachineError("cannot create the output directory {}: {}; choose another --output_dir", output_dir_.string(),
                       failure.message());
  lock_fd_ = ::open(output_dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_fd_ >= 0 && ::flock(lock_fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(lock_fd_);
    throw MachineError(
        "one run at a time can write to {}; another one is at work there; wait for it or choose "
        "another --output_dir",
        output_dir_.string());
  }
  try {
    remove_leftovers();
  } catch (...) {
    if (lock_fd_ >= 0) ::close(lock_fd_);
    throw;
  }
}

CheckpointStore::~CheckpointStore() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

PendingCheckpoint CheckpointStore::begin(std::int64_t step, std::uint64_t expected_bytes) {
  const std::uint64_t free = free_disk_bytes(output_dir_);
  if (free < expected_bytes + kSpareBytes)
    throw MachineError(
        "{} needs {} MB on the disk of {}; found {} MB free; free some disk space, lower "
        "--save_total_limit or choose another --output_dir",
        final_path(output_dir_, step).filename().string(), (expected_bytes + kSpareBytes) / 1'000'000,
        output_dir_.string(), free / 1'000'000);
  return PendingCheckpoint(output_dir_, step, exchange_);
}

void CheckpointStore::rotate(std::optional<std::int64_t> limit, std::optional<std::int64_t> best_step, bool finished) {
  if (!limit || *limit <= 0) return;
  auto checkpoints = list_checkpoints(output_dir_);
  if (checkpoints.empty()) return;
  const bool best_is_there = best_step && std::any_of(checkpoints.begin(), checkpoints.end(),
                                                      [&](const auto& c) { return c.step == *best_step; });
  const std::int64_t newest = checkpoints.back().step;
  const bool only_best = finished && best_is_there && *limit == 1;
  auto left = static_cast<std::int64_t>(checkpoints.size());
  for (const auto& [step, directory] : checkpoints) {
    const bool best = best_is_there && step == *best_step;
    if (left <= *limit) return;
    if (best || (step == newest && !only_best)) continue;
    remove_checkpoint(directory);
    --left;
  }
}

void CheckpointStore::remove_all() {
  for (const auto& checkpoint : checkpoint_directories(output_dir_)) remove_checkpoint(checkpoint.directory);
}

void CheckpointStore::remove_checkpoint(const fs::path& directory) {
  const fs::path temporary = temporary_path(output_dir_, step_of(directory).value_or(0), "tmp");
  rename_directory(directory, temporary);
  sync_path(output_dir_, O_DIRECTORY);
  remove_unneeded(temporary);
}

void CheckpointStore::remove_leftovers() {
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(output_dir_)) entries.push_back(entry.path());
  for (const fs::path& entry : entries) {
    const auto leftover = parse_temporary(entry.filename().string());
    if (!leftover) continue;
    const fs::path target = output_dir_ / leftover->stem;
    if (fs::is_directory(entry) && step_of(target)) {
      if (leftover->suffix == "old" && !fs::exists(target)) {
        rename_directory(entry, target);
      } else {
        log::info("removing {}, left by a run that was killed", entry.string());
        remove_unneeded(entry);
      }
    } else if (fs::is_regular_file(entry) && leftover->suffix == "tmp") {  // of AtomicFile
      announce_file_event("remove", entry);
      remove_quietly(entry);
    }
  }
}

}  // namespace baichuan
