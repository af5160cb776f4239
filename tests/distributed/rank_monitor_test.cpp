#include "distributed/rank_monitor.h"

#include <condition_variable>
#include <mutex>

#include <gtest/gtest.h>

#include <torch/csrc/distributed/c10d/HashStore.hpp>

namespace baichuan {
namespace {

using std::chrono::milliseconds;

TEST(DescribeStall, NamesTheRankThatHasComeLeastFar) {
  std::vector<RankProgress> ranks = {{.moves = 12, .phase = "in the sum of gradients"},
                                     {.moves = 11, .signs = 9, .phase = "in step 3"},
                                     {.moves = 12, .phase = "in step 4"}};
  EXPECT_EQ(
      describe_stall(ranks, std::chrono::seconds(30)),
      "expected every rank to go on; found that none has moved for 30 s, and come least far: rank 1 is in step 3; "
      "the others: rank 0 is in the sum of gradients, rank 2 is in step 4; see what it is doing, or raise "
      "--ddp_timeout");
  ranks[2].silent = true;
  EXPECT_NE(
      describe_stall(ranks, std::chrono::seconds(30)).find("and no word comes from: rank 2 is in step 4; the others"),
      std::string::npos);
}

// What a monitor says, within a generous time.
class Words {
 public:
  void say(const std::string& message) {
    const std::lock_guard lock(mutex_);
    message_ = message;
    changed_.notify_all();
  }
  std::string wait() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [this] { return !message_.empty(); });
    return message_;
  }
  std::string now() {
    const std::lock_guard lock(mutex_);
    return message_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string message_;
};

TEST(RankMonitor, SpeaksWhenNoRankMoves) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  Words words;
  RankMonitor::Options options;
  options.timeout = milliseconds(300);
  options.interval = milliseconds(20);
  RankMonitor quiet(store, 1, 2, {milliseconds(60'000), milliseconds(20), {}});
  options.on_stall = [&](const std::string& message) { words.say(message); };
  RankMonitor watching(store, 0, 2, options);
  watching.enter("in the sum of gradients");
  EXPECT_NE(words.wait().find("come least far: rank 1 is starting"), std::string::npos) << words.now();
}

TEST(RankMonitor, IsSilentWhileSomeRankGivesSignsOfLife) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  Words words;
  RankMonitor::Options options;
  options.timeout = milliseconds(1500);
  options.interval = milliseconds(20);
  options.on_stall = [&](const std::string& message) { words.say(message); };
  RankMonitor busy(store, 1, 2, {milliseconds(60'000), milliseconds(20), {}});
  RankMonitor watching(store, 0, 2, options);
  for (int i = 0; i < 100; ++i) {
    busy.keep_alive();
    std::this_thread::sleep_for(milliseconds(30));
  }
  EXPECT_EQ(words.now(), "");
}

}  // namespace
}  // namespace baichuan
