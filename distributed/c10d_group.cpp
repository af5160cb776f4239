#include "distributed/c10d_group.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/ranges.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <torch/torch.h>

#include "core/error.h"
#include "distributed/rank_monitor.h"

namespace baichuan {

namespace {

using c10d::Backend;
using c10d::Store;

constexpr std::chrono::seconds kBetweenMessages(10);
constexpr std::chrono::seconds kLongestFarewell(30);

// c10d's messages end in a backtrace.
std::string first_line(const std::exception& error) {
  const auto* const with_trace = dynamic_cast<const c10::Error*>(&error);
  const std::string text = with_trace == nullptr ? error.what() : with_trace->what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

template <class Function>
auto translate_errors(std::int64_t rank, const char* operation, const Function& run) {
  try {
    return run();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw MachineError(
        "rank {}: expected every rank to take part in {}; found that one is gone ({}); see its own words", rank,
        operation, first_line(error));
  }
}

// Bytes travel: the backend need not know the type.
at::Tensor as_bytes(const at::Tensor& tensor) {
  return tensor.view(at::kByte);
}

class WorkUnderWay : public PendingCollective {
 public:
  WorkUnderWay(std::int64_t rank, const char* operation, c10::intrusive_ptr<c10d::Work> work)
      : rank_(rank), operation_(operation), work_(std::move(work)) {}
  void wait() override {
    translate_errors(rank_, operation_, [this] { work_->wait(); });
  }

 private:
  std::int64_t rank_;
  const char* operation_;
  c10::intrusive_ptr<c10d::Work> work_;
};

class SeveralUnderWay : public PendingCollective {
 public:
  explicit SeveralUnderWay(std::vector<WorkUnderWay> works) : works_(std::move(works)) {}
  void wait() override {
    for (auto& work : works_) work.wait();
  }

 private:
  std::vector<WorkUnderWay> works_;
};

// Everybody's slices for this rank arrive side by side and are added in the order of the ranks.
class OrderedSum : public PendingCollective {
 public:
  OrderedSum(WorkUnderWay exchange, at::Tensor sent, at::Tensor received, at::Tensor sum, std::int64_t contributors)
      : exchange_(std::move(exchange)),
        sent_(std::move(sent)),
        received_(std::move(received)),
        sum_(std::move(sum)),
        contributors_(contributors) {}

  void wait() override {
    const at::NoGradGuard no_grad;
    exchange_.wait();
    const std::int64_t n = sum_.numel();
    for (std::int64_t r = 0; r < contributors_; ++r) sum_.add_(received_.narrow(0, r * n, n));
  }

 private:
  WorkUnderWay exchange_;
  at::Tensor sent_;  // kept until it has left
  at::Tensor received_;
  at::Tensor sum_;
  std::int64_t contributors_;
};

class C10dGroup : public ProcessGroup {
 public:
  C10dGroup(c10::intrusive_ptr<Backend> backend, c10::intrusive_ptr<Store> store, const C10dGroupOptions& options)
      : ProcessGroup(backend->getRank(), backend->getSize()),
        backend_(std::move(backend)),
        store_(std::move(store)),
        options_(options) {
    if (options_.on_stall) monitor_.emplace(store_->clone(), rank(), size(), monitor_options());
  }

  std::unique_ptr<PendingCollective> reduce_scatter_add(const at::Tensor& parts,
                                                        const at::Tensor& arriving,
                                                        const at::Tensor& sum,
                                                        std::int64_t contributors) override {
    constexpr const char* kName = "the sum of gradients";
    enter_phase("in the sum of gradients");
    return translate_errors(rank(), kName, [&]() -> std::unique_ptr<PendingCollective> {
      at::Tensor to = as_bytes(arriving);
      at::Tensor from = as_bytes(parts);
      std::vector<std::int64_t> equal_splits;
      WorkUnderWay exchange(rank(), kName, backend_->alltoall_base(to, from, equal_splits, equal_splits));
      return std::make_unique<OrderedSum>(std::move(exchange), parts, arriving, sum, contributors);
    });
  }

  std::unique_ptr<PendingCollective> all_gather(const at::Tensor& flat) override {
    constexpr const char* kName = "the exchange of weights";
    enter_phase("in the exchange of weights");
    return translate_errors(rank(), kName, [&]() -> std::unique_ptr<PendingCollective> {
      at::Tensor all = as_bytes(flat);
      const std::int64_t n = all.numel() / size();
      if (on_gpus()) {
        at::Tensor own = all.narrow(0, rank() * n, n);
        return std::make_unique<WorkUnderWay>(rank(), kName, backend_->_allgather_base(all, own));
      }
      // Gloo gathers into memory of its own and copies from there; its broadcast writes in place.
      std::vector<WorkUnderWay> works;
      for (std::int64_t r = 0; r < size(); ++r) {
        std::vector<at::Tensor> slice{all.narrow(0, r * n, n)};
        c10d::BroadcastOptions from;
        from.rootRank = r;
        works.emplace_back(rank(), kName, backend_->broadcast(slice, from));
      }
      return std::make_unique<SeveralUnderWay>(std::move(works));
    });
  }

  at::Tensor gather_numbers(const at::Tensor& values) override {
    constexpr const char* kName = "the exchange of figures";
    enter_phase("in the exchange of figures");
    return translate_errors(rank(), kName, [&] {
      const auto device = on_gpus() ? at::Device(at::kCUDA) : at::Device(at::kCPU);
      at::Tensor all = at::empty({size() * values.numel()}, values.options().device(device));
      at::Tensor own = values.to(device).contiguous();
      backend_->_allgather_base(all, own)->wait();
      return all.cpu().view({size(), values.numel()});
    });
  }

  std::vector<std::string> gather_texts(const std::string& text, const std::string& what) override {
    const std::string round = "texts/" + std::to_string(rounds_++);
    enter_phase("waiting for " + what);
    return translate_errors(rank(), what.c_str(), [&] {
      store_->set(key_of(round, rank()), text);
      wait_for_everybody(round, what);
      return texts_of(round);
    });
  }

  void post_text(const std::string& round, const std::string& text) override {
    translate_errors(rank(), "the store", [&] { store_->set(key_of(round, rank()), text); });
  }

  std::optional<std::vector<std::string>> posted_texts(const std::string& round) override {
    return translate_errors(rank(), "the store", [&]() -> std::optional<std::vector<std::string>> {
      std::vector<std::string> keys;
      for (std::int64_t r = 0; r < size(); ++r) keys.push_back(key_of(round, r));
      if (!store_->check(keys)) return {};  // of all at once: it is asked after every step
      return texts_of(round);
    });
  }

  void enter_phase(const std::string& phase) override {
    if (monitor_) monitor_->enter(phase);
  }

  void keep_alive() override {
    if (monitor_) monitor_->keep_alive();
  }

  // Rank 0 keeps the store: it stays until nobody reads it any more.
  void leave() override {
    monitor_.reset();
    try {
      if (rank() != 0) {
        store_->set("bye/" + std::to_string(rank()), "");
        return;
      }
      std::vector<std::string> keys;
      for (std::int64_t r = 1; r < size(); ++r) keys.push_back("bye/" + std::to_string(r));
      store_->wait(keys, kLongestFarewell);
    } catch (const std::exception&) {
      // The run is over; who is gone already needs nothing.
    }
  }

 private:
  RankMonitor::Options monitor_options() const {
    RankMonitor::Options monitor;
    monitor.timeout = options_.timeout;
    monitor.interval = std::clamp<std::chrono::milliseconds>(options_.timeout / 10, std::chrono::milliseconds(50),
                                                             std::chrono::seconds(1));
    monitor.on_stall = options_.on_stall;
    return monitor;
  }

  bool on_gpus() const { return backend_->getBackendName() == "nccl"; }

  static std::string key_of(const std::string& round, std::int64_t rank) { return fmt::format("{}/{}", round, rank); }

  std::vector<std::string> texts_of(const std::string& round) {
    std::vector<std::string> texts;
    for (std::int64_t r = 0; r < size(); ++r) texts.push_back(store_->get_to_str(key_of(round, r)));
    return texts;
  }

  std::int64_t lowest_present(const std::vector<std::int64_t>& missing) const {
    std::int64_t lowest = 0;
    while (std::find(missing.begin(), missing.end(), lowest) != missing.end()) ++lowest;
    return lowest;
  }

  void wait_for_everybody(const std::string& round, const std::string& what) {
    const auto began = std::chrono::steady_clock::now();
    for (;;) {
      std::vector<std::string> keys;
      std::vector<std::int64_t> missing;
      for (std::int64_t r = 0; r < size(); ++r) {
        if (store_->check({key_of(round, r)})) continue;
        keys.push_back(key_of(round, r));
        missing.push_back(r);
      }
      if (keys.empty()) return;
      const auto waited = std::chrono::steady_clock::now() - began;
      if (!monitor_ && waited > options_.timeout)
        throw MachineError(
            "rank {}: expected all ranks to reach {} within {} s; found no word of rank {}; raise --ddp_timeout, or "
            "see "
            "what that rank is doing",
            rank(), what, std::chrono::duration_cast<std::chrono::seconds>(options_.timeout).count(),
            fmt::join(missing, ", "));
      try {
        store_->wait(keys, kBetweenMessages);
      } catch (const std::exception&) {
        // Too early, or the store is gone: then the next check says so.
        const bool speaks = lowest_present(missing) == rank();  // one line, from one rank
        if (speaks && options_.still_waiting) options_.still_waiting(what, fmt::format("{}", fmt::join(missing, ", ")));
      }
    }
  }

  c10::intrusive_ptr<Backend> backend_;
  c10::intrusive_ptr<Store> store_;
  C10dGroupOptions options_;
  std::int64_t rounds_ = 0;
  std::optional<RankMonitor> monitor_;
};

}  // namespace

std::unique_ptr<ProcessGroup> make_c10d_group(c10::intrusive_ptr<Backend> backend,
                                              c10::intrusive_ptr<Store> store,
                                              const C10dGroupOptions& options) {
  return std::make_unique<C10dGroup>(std::move(backend), std::move(store), options);
}

}  // namespace baichuan
