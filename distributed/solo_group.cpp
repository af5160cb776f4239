#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>

#include <torch/torch.h>

#include "distributed/process_group.h"

namespace baichuan {

namespace {

class Done : public PendingCollective {
 public:
  void wait() override {}
};

class SoloGroup : public ProcessGroup {
 public:
  SoloGroup() : ProcessGroup(0, 1) {}

  bool is_solo() const override { return true; }

  std::unique_ptr<PendingCollective> reduce_scatter_add(const at::Tensor& parts,
                                                        const at::Tensor& /*arriving*/,
                                                        const at::Tensor& sum,
                                                        std::int64_t contributors) override {
    if (contributors > 0) sum.add_(parts);
    return std::make_unique<Done>();
  }
  std::unique_ptr<PendingCollective> all_gather(const at::Tensor&) override { return std::make_unique<Done>(); }
  at::Tensor gather_numbers(const at::Tensor& values) override { return values.unsqueeze(0); }
  std::vector<std::string> gather_texts(const std::string& text, const std::string&) override { return {text}; }
  void post_text(const std::string& round, const std::string& text) override { posted_[round] = text; }
  std::optional<std::vector<std::string>> posted_texts(const std::string& round) override {
    const auto found = posted_.find(round);
    if (found == posted_.end()) return {};
    return std::vector{found->second};
  }

 private:
  std::map<std::string, std::string> posted_;
};

}  // namespace

AtWork::AtWork(ProcessGroup& group, const std::string& phase) {
  group.enter_phase(phase);
  if (group.size() == 1) return;
  thread_ = std::jthread([&group](const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any wake;  // by the stop: the end of short work must not wait for the next sign
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      group.keep_alive();
      wake.wait_for(lock, stop, std::chrono::milliseconds(100), [] { return false; });
    }
  });
}

std::unique_ptr<ProcessGroup> make_solo_group() {
  return std::make_unique<SoloGroup>();
}

}  // namespace baichuan
