#include "tests/distributed/rank_threads.h"

#include <cstdlib>
#include <exception>
#include <thread>
#include <vector>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/torch.h>

#include "core/error.h"
#include "distributed/c10d_group.h"

namespace baichuan {

namespace {

constexpr std::chrono::seconds kTimeout(60);

void run_rank(const c10::intrusive_ptr<c10d::Store>& store,
              std::int64_t rank,
              std::int64_t ranks,
              bool with_backend,
              const std::function<void(ProcessGroup&)>& body,
              std::exception_ptr& failure) {
  try {
    at::set_num_threads(1);
    if (!with_backend) {
      body(*make_solo_group());
      return;
    }
    const auto backend = make_gloo_backend(store, rank, ranks, "127.0.0.1", kTimeout);
    const auto group = make_c10d_group(backend, store, {.timeout = kTimeout});
    body(*group);
    group->gather_texts("done", "the end of the test");  // nobody leaves while others still talk to it
  } catch (...) {
    failure = std::current_exception();
  }
}

void run_in_threads(std::int64_t ranks, bool with_backend, const std::function<void(ProcessGroup&)>& body) {
  // c10d keeps one record of collectives a process, which is not made for several ranks in one.
  ::setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/1);
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<std::exception_ptr> failures(static_cast<std::size_t>(ranks));
  {
    std::vector<std::jthread> threads;
    for (std::int64_t r = 0; r < ranks; ++r)
      threads.emplace_back(
          [&, r] { run_rank(store, r, ranks, with_backend, body, failures[static_cast<std::size_t>(r)]); });
  }
  // A rank that lost the others is not the one to hear.
  std::exception_ptr consequence;
  for (const auto& failure : failures) {
    if (!failure) continue;
    try {
      std::rethrow_exception(failure);
    } catch (const MachineError&) {
      if (!consequence) consequence = failure;
    }
  }
  if (consequence) std::rethrow_exception(consequence);
}

}  // namespace

void run_ranks(std::int64_t ranks, const std::function<void(ProcessGroup& group)>& body) {
  run_in_threads(ranks, ranks > 1, body);
}

void run_alone_with_backend(const std::function<void(ProcessGroup& group)>& body) {
  run_in_threads(1, true, body);
}

}  // namespace baichuan
