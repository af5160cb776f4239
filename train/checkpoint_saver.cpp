#include "train/checkpoint_saver.h"

#include <chrono>
#include <future>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "distributed/process_group.h"
#include "train/checkpoint_store.h"
#include "train/free_memory.h"
#include "train/shared_disks.h"

namespace baichuan {

namespace {

// Of the free memory, what copies may take.
constexpr double kShareOfFreeMemory = 0.8;

std::string to_text(const std::vector<ManifestEntry>& entries) {
  Json json = Json::array();
  for (const auto& entry : entries) json.push_back({entry.path, entry.bytes, entry.xxh3_128});
  return json.dump();
}

void add_entries(std::vector<ManifestEntry>& entries, const std::string& text) {
  for (const auto& entry : Json::parse(text))
    entries.push_back({entry[0].get<std::string>(), entry[1].get<std::uint64_t>(), entry[2].get<std::string>()});
}

bool has_room_for_copy(std::uint64_t bytes, std::int64_t local_ranks) {
  const auto free = static_cast<double>(free_memory_bytes(at::kCPU));
  return static_cast<double>(bytes) * static_cast<double>(local_ranks) < free * kShareOfFreeMemory;
}

}  // namespace

struct CheckpointSaver::UnderWay {
  std::int64_t step = 0;
  std::string round;                         // of the ranks' words
  std::optional<PendingCheckpoint> pending;  // of the rank that keeps the directory
  bool told = false;
  std::future<std::vector<ManifestEntry>> written;  // last: its destructor waits for the thread
};

CheckpointSaver::CheckpointSaver(ProcessGroup& group,
                                 const SharedDisks& disks,
                                 CheckpointStore* store,
                                 CheckpointSaverOptions options)
    : group_(group), disks_(disks), store_(store), options_(std::move(options)) {}

CheckpointSaver::~CheckpointSaver() = default;

void CheckpointSaver::save(std::int64_t step, std::uint64_t expected_bytes, CheckpointPart part) {
  finish();
  auto under_way = std::make_unique<UnderWay>();
  under_way->step = step;
  under_way->round = fmt::format("checkpoint/{}", rounds_++);
  if (store_ != nullptr) under_way->pending.emplace(store_->begin(step, expected_bytes));
  const std::string opened = store_ != nullptr ? under_way->pending->directory().string() : "";
  const auto keeper = static_cast<std::size_t>(disks_.keeper_of(group_.rank()));
  const std::filesystem::path directory = group_.gather_texts(opened, "the new checkpoint")[keeper];
  if (options_.in_background && has_room_for_copy(part.bytes(), options_.local_ranks)) {
    part.copy_tensors();
    under_way->written =
        std::async(std::launch::async, [part = std::move(part), directory] { return part.write(directory); });
  } else {
    const AtWork at_work(group_, fmt::format("writing checkpoint-{}", step));
    std::promise<std::vector<ManifestEntry>> written;
    written.set_value(part.write(directory));
    under_way->written = written.get_future();
  }
  under_way_ = std::move(under_way);
}

// This rank's word, once its files are written.
void CheckpointSaver::tell(bool wait) {
  UnderWay& checkpoint = *under_way_;
  if (checkpoint.told) return;
  if (!wait && checkpoint.written.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return;
  std::vector<ManifestEntry> entries;
  {
    const AtWork at_work(group_, fmt::format("writing checkpoint-{}", checkpoint.step));
    entries = checkpoint.written.get();
  }
  group_.post_text(checkpoint.round, to_text(entries));
  checkpoint.told = true;
}

void CheckpointSaver::complete() {
  if (!under_way_->pending) return;
  const auto words = group_.posted_texts(under_way_->round);
  if (!words) return;
  std::vector<ManifestEntry> entries;
  for (std::int64_t r = 0; r < group_.size(); ++r)
    if (disks_.keeper_of(r) == group_.rank()) add_entries(entries, (*words)[static_cast<std::size_t>(r)]);
  under_way_->pending->finish(entries);
  under_way_->pending.reset();
  log::debug("checkpoint-{} is complete", under_way_->step);
  options_.on_complete();
}

void CheckpointSaver::poll() {
  if (!under_way_) return;
  tell(/*wait=*/false);
  complete();
}

void CheckpointSaver::finish() {
  if (!under_way_) return;
  tell(/*wait=*/true);
  group_.gather_texts("written", "the files of the checkpoint");
  {
    const AtWork at_work(group_, fmt::format("completing checkpoint-{}", under_way_->step));
    complete();
  }
  group_.gather_texts("complete", "the complete checkpoint");
  under_way_.reset();
}

}  // namespace baichuan
