#include "distributed/rank_monitor.h"

#include <algorithm>
#include <sstream>

#include <fmt/format.h>

#include <torch/csrc/distributed/c10d/Store.hpp>

namespace baichuan {

namespace {

constexpr std::chrono::seconds kGrace(3);

std::string key_of(std::int64_t rank) {
  return "monitor/" + std::to_string(rank);
}

std::string encode(const RankProgress& progress) {
  return fmt::format("{} {} {} {}", progress.moves, progress.signs, progress.beats, progress.phase);
}

RankProgress decode(const std::string& text) {
  RankProgress progress;
  std::istringstream words(text);
  words >> progress.moves >> progress.signs >> progress.beats;
  words.get();
  std::getline(words, progress.phase);
  return progress;
}

// While it lives, the store is being asked.
class Asking {
 public:
  using Since = std::optional<std::chrono::steady_clock::time_point>;
  Asking(std::mutex& mutex, Since& since) : mutex_(mutex), since_(since) {
    const std::lock_guard lock(mutex_);
    since_ = std::chrono::steady_clock::now();
  }
  ~Asking() {
    const std::lock_guard lock(mutex_);
    since_.reset();
  }
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;

 private:
  std::mutex& mutex_;
  Since& since_;
};

}  // namespace

std::string describe_stall(const std::vector<RankProgress>& ranks, std::chrono::seconds still) {
  // A process that gives no beat is the one; where all do, those that have come least far.
  const bool some_silent = std::any_of(ranks.begin(), ranks.end(), [](const auto& rank) { return rank.silent; });
  std::int64_t least = ranks.front().moves;
  for (const auto& rank : ranks) least = std::min(least, rank.moves);
  std::string hanging;
  std::string others;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    std::string& list = (some_silent ? ranks[r].silent : ranks[r].moves == least) ? hanging : others;
    list += fmt::format("{}rank {} is {}", list.empty() ? "" : ", ", r, ranks[r].phase);
  }
  return fmt::format(
      "expected every rank to go on; found that none has moved for {} s, and {}: {}{}{}; see "
      "what it is doing, or raise --ddp_timeout",
      still.count(), some_silent ? "no word comes from" : "come least far", hanging,
      others.empty() ? "" : "; the others: ", others);
}

RankMonitor::RankMonitor(c10::intrusive_ptr<c10d::Store> store, std::int64_t rank, std::int64_t ranks, Options options)
    : store_(std::move(store)), rank_(rank), ranks_(ranks), options_(std::move(options)) {
  own_.phase = "starting";
  store_->setTimeout(options_.timeout);
  store_thread_ = std::jthread([this](const std::stop_token& stop) { watch_store(stop); });
  thread_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

RankMonitor::~RankMonitor() {
  thread_.request_stop();
  wake_.notify_all();
}

void RankMonitor::enter(std::string phase) {
  const std::lock_guard lock(mutex_);
  ++own_.moves;
  own_.phase = std::move(phase);
}

void RankMonitor::keep_alive() {
  const std::lock_guard lock(mutex_);
  ++own_.signs;
}

void RankMonitor::publish() {
  std::string text;
  {
    const std::lock_guard lock(mutex_);
    ++own_.beats;
    text = encode(own_);
  }
  store_->set(key_of(rank_), text);
}

std::vector<RankProgress> RankMonitor::read_all() {
  std::vector<RankProgress> all;
  for (std::int64_t r = 0; r < ranks_; ++r)
    all.push_back(store_->check({key_of(r)}) ? decode(store_->get_to_str(key_of(r)))
                                             : RankProgress{.moves = -1, .phase = "not started"});
  return all;
}

// At the end of a run rank 0 may leave a moment before this rank's monitor stops: no reason to speak.
void RankMonitor::store_is_gone(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, stop, kGrace, [] { return false; });
  if (!stop.stop_requested() && options_.on_stall)
    options_.on_stall(
        "expected to reach rank 0, which keeps the ranks together; found that it is gone, or that the "
        "network between the hosts is; see its own words");
}

// A network that is cut gives no error: a call of the store then waits for its answer for good.
void RankMonitor::watch_store(const std::stop_token& stop) {
  using Clock = std::chrono::steady_clock;
  auto looked_at = Clock::now();
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const auto now = Clock::now();
    if (now - looked_at > options_.timeout / 2 && asking_since_) asking_since_ = now;
    looked_at = now;
    if (asking_since_ && now - *asking_since_ > options_.timeout) {
      lock.unlock();
      if (options_.on_stall)
        options_.on_stall(fmt::format(
            "expected an answer of rank 0's host, which keeps the ranks together, within {} s; found none; see its own "
            "words and whether the network between the hosts holds, or raise --ddp_timeout",
            std::chrono::duration_cast<std::chrono::seconds>(options_.timeout).count()));
      return;
    }
    wake_.wait_for(lock, stop, options_.interval, [] { return false; });
  }
}

void RankMonitor::watch(const std::stop_token& stop) {
  using Clock = std::chrono::steady_clock;
  std::vector<RankProgress> before;
  std::vector<RankProgress> when_moved;
  auto moved_at = Clock::now();
  auto looked_at = moved_at;
  while (!stop.stop_requested()) {
    // A run that was suspended for a while starts counting anew.
    if (Clock::now() - looked_at > options_.timeout / 2) moved_at = Clock::now();
    looked_at = Clock::now();
    try {
      const Asking asking(mutex_, asking_since_);
      publish();
      auto now = read_all();
      const auto same = [](const auto& a, const auto& b) { return a.moves == b.moves && a.signs == b.signs; };
      if (!std::equal(now.begin(), now.end(), before.begin(), before.end(), same)) {
        moved_at = Clock::now();
        when_moved = now;
      }
      for (std::size_t r = 0; r < now.size(); ++r) now[r].silent = now[r].beats == when_moved[r].beats;
      before = std::move(now);
    } catch (const std::exception&) {
      store_is_gone(stop);
      return;
    }
    const auto still = Clock::now() - moved_at;
    if (still > options_.timeout && options_.on_stall) {
      options_.on_stall(describe_stall(before, std::chrono::duration_cast<std::chrono::seconds>(still)));
      return;
    }
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, options_.interval, [] { return false; });
  }
}

}  // namespace baichuan
