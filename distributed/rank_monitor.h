// Which rank a run waits for. Every rank tells the store what it is doing and how far it has come; a thread of each
// compares, and speaks when nothing has moved for too long: all ranks go through the same phases, so those that have
// come least far are the ones that hang.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Store;
}

namespace baichuan {

struct RankProgress {
  std::int64_t moves = 0;  // phases entered so far
  std::int64_t signs = 0;  // of life, within phases that take long
  std::int64_t beats = 0;  // of the monitor's own thread: they stop with the process
  std::string phase;
  bool silent = false;  // no beat has come since anything moved
};

// "rank 1 has not moved for 30 s (in the backward pass of step 3); …", from everybody's last word; for messages.
std::string describe_stall(const std::vector<RankProgress>& ranks, std::chrono::seconds still);

class RankMonitor {
 public:
  struct Options {
    std::chrono::milliseconds timeout = std::chrono::minutes(30);
    std::chrono::milliseconds interval = std::chrono::seconds(1);
    // Called on the monitor's thread, once; expected to end the process.
    std::function<void(const std::string& message)> on_stall;
  };

  // `store`: a connection of its own (Store::clone()), for waiting calls keep a connection busy.
  RankMonitor(c10::intrusive_ptr<c10d::Store> store, std::int64_t rank, std::int64_t ranks, Options options);
  ~RankMonitor();
  RankMonitor(const RankMonitor&) = delete;
  RankMonitor& operator=(const RankMonitor&) = delete;

  void enter(std::string phase);
  // This rank works on something long, such as reading weights.
  void keep_alive();

 private:
  void watch(const std::stop_token& stop);
  void watch_store(const std::stop_token& stop);
  void publish();
  void store_is_gone(const std::stop_token& stop);
  std::vector<RankProgress> read_all();

  c10::intrusive_ptr<c10d::Store> store_;
  std::int64_t rank_;
  std::int64_t ranks_;
  Options options_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  RankProgress own_;
  // When the monitor began to ask the store, while it does: the store's own calls wait without a limit for an answer.
  std::optional<std::chrono::steady_clock::time_point> asking_since_;
  // Last, for they use the others; the second still watches while the first ends.
  std::jthread store_thread_;
  std::jthread thread_;
};

}  // namespace baichuan
