// What training asks of the other ranks. Every rank calls the same operations in the same order.
//
// Sums are made in the order of the ranks, in float32, whatever travels over the wire: the result is the same bits on
// every run and, given the same summands, for any number of ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <ATen/core/Tensor.h>

namespace baichuan {

// A collective under way. Its tensors must stay as they are until wait() returns.
class PendingCollective {
 public:
  virtual ~PendingCollective() = default;
  // Throws MachineError when another rank is gone.
  virtual void wait() = 0;
};

class ProcessGroup {
 public:
  ProcessGroup(std::int64_t rank, std::int64_t size) : rank_(rank), size_(size) {}
  virtual ~ProcessGroup() = default;
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  std::int64_t rank() const { return rank_; }
  std::int64_t size() const { return size_; }
  // Nothing is on the other end: no backend, no store.
  virtual bool is_solo() const { return false; }

  // parts [size * n], any floating type: slice s is meant for rank s. sum [n] float32. After wait():
  // sum = (… ((sum + slice of rank 0) + slice of rank 1) …), over the first `contributors` ranks; the others' parts are
  // not looked at. arriving: as parts, where everybody's slices for this rank come in.
  virtual std::unique_ptr<PendingCollective> reduce_scatter_add(const at::Tensor& parts,
                                                                const at::Tensor& arriving,
                                                                const at::Tensor& sum,
                                                                std::int64_t contributors) = 0;
  // flat [size * n], of which this rank has filled slice `rank`; after wait() it holds everybody's.
  virtual std::unique_ptr<PendingCollective> all_gather(const at::Tensor& flat) = 0;
  // values float64 [n] on the CPU -> [size, n], in rank order; for a few numbers. n is the same on every rank.
  virtual at::Tensor gather_numbers(const at::Tensor& values) = 0;
  // Texts of any length, in rank order: paths, names, manifests. Waits on the store, not inside a collective, so that a
  // rank may take its time; `what` names the wait in messages.
  virtual std::vector<std::string> gather_texts(const std::string& text, const std::string& what) = 0;
  // The same in two halves, neither of which waits: this rank's word of a round, and everybody's once all have given
  // theirs. A round is named once in a run.
  virtual void post_text(const std::string& round, const std::string& text) = 0;
  virtual std::optional<std::vector<std::string>> posted_texts(const std::string& round) = 0;
  // What this rank does next, for the message that names a rank that hangs: "in step 3".
  virtual void enter_phase(const std::string& phase) { (void)phase; }
  // Between phases: this rank is at work on something long.
  virtual void keep_alive() {}
  // At the end of a run: returns when the others no longer need this rank.
  virtual void leave() {}

 private:
  std::int64_t rank_;
  std::int64_t size_;
};

// Gives signs of life while it lives, for work that cannot do so itself. Not around calls that wait for other ranks.
class AtWork {
 public:
  AtWork(ProcessGroup& group, const std::string& phase);

 private:
  std::jthread thread_;
};

// One rank: nothing travels.
std::unique_ptr<ProcessGroup> make_solo_group();

}  // namespace baichuan
