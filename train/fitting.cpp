#include "train/fitting.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "train/memory_plan.h"
#include "train/memory_terms.h"

namespace baichuan {

namespace {

constexpr std::int64_t kLengthStep = 128;
constexpr std::int64_t kMostRanks = 512;

class Fitting {
 public:
  Fitting(const RunShape& run, const Accelerator& device)
      : run_(run), device_(device), budget_(allocation_budget(device, run.ranks)) {}

  std::vector<Alternative> find() {
    add_recomputation();
    add_batch();
    add_stage();
    add_length();
    add_ranks();
    if (found_.empty()) add_all_together();
    add_adapters();
    add_unbuilt("zero_optimization.stage 3", stage3_state_bytes(run_));
    add_unbuilt("zero_optimization.offload_optimizer", offload_state_bytes(run_));
    return found_;
  }

 private:
  // Adds the change if the run fits with it.
  bool add(const RunShape& changed, std::string change) {
    RunShape run = changed;
    const std::int64_t budget = allocation_budget(device_, run.ranks);
    run.recomputed_layers = layers_to_recompute(run, budget);
    const std::int64_t bytes = plan_memory(run).allocated_bytes();
    if (bytes > budget) return false;
    found_.push_back({std::move(change), bytes, run.recomputed_layers, true});
    return true;
  }

  void add_recomputation() {
    const std::int64_t needed = layers_to_recompute(run_, budget_);
    if (run_.recomputed_layers < needed) add(run_, fmt::format("--recompute_layers {}", needed));
  }

  // The rows of a step stay as many.
  void add_batch() {
    const std::int64_t rows = run_.batch * run_.accumulation;
    RunShape changed = run_;
    for (changed.batch = run_.batch - 1; changed.batch >= 1; --changed.batch) {
      if (rows % changed.batch != 0) continue;
      changed.accumulation = rows / changed.batch;
      if (add(changed, fmt::format("--per_device_train_batch_size {} --gradient_accumulation_steps {}", changed.batch,
                                   changed.accumulation)))
        return;
    }
  }

  void add_stage() {
    if (run_.ranks == 1 || run_.sharding == Sharding::kStage2) return;
    RunShape changed = run_;
    changed.sharding = Sharding::kStage2;
    add(changed, "zero_optimization.stage 2");
  }

  void add_length() {
    RunShape changed = run_;
    for (changed.longest = (run_.longest - 1) / kLengthStep * kLengthStep; changed.longest >= kLengthStep;
         changed.longest -= kLengthStep)
      if (add(changed, fmt::format("--cutoff_len {}", changed.longest))) return;
  }

  // Processes of one machine share its memory, so that more of them are no help.
  void add_ranks() {
    if (!device_.is_gpu()) return;
    RunShape changed = run_;
    changed.sharding = Sharding::kStage2;
    for (changed.ranks = run_.ranks + 1; changed.ranks <= kMostRanks; ++changed.ranks)
      if (add(changed, fmt::format("--num_gpus {} with zero_optimization.stage 2", changed.ranks))) return;
  }

  // For runs that no single change saves.
  void add_all_together() {
    RunShape changed = run_;
    changed.batch = 1;
    changed.accumulation = run_.batch * run_.accumulation;
    if (run_.ranks > 1) changed.sharding = Sharding::kStage2;
    add(changed, fmt::format("{}--per_device_train_batch_size 1 --gradient_accumulation_steps {}",
                             run_.ranks > 1 ? "zero_optimization.stage 2 with " : "", changed.accumulation));
  }

  void add_adapters() {
    if (!run_.full) return;
    RunShape changed = run_;
    changed.full = false;
    changed.lora_targets = {"W_pack"};
    changed.frozen_bytes = run_.compute_bytes;
    add(changed, "--finetuning_type lora");
  }

  void add_unbuilt(const char* change, std::int64_t state_bytes) {
    if (!run_.full) return;
    RunShape changed = run_;
    const std::int64_t own_state = plan_memory(run_).state_bytes();
    changed.recomputed_layers = layers_to_recompute(run_, budget_ - state_bytes + own_state);
    const std::int64_t bytes = plan_memory(changed).allocated_bytes() - own_state + state_bytes;
    if (bytes <= budget_) found_.push_back({change, bytes, changed.recomputed_layers, false});
  }

  RunShape run_;
  Accelerator device_;
  std::int64_t budget_;
  std::vector<Alternative> found_;
};

}  // namespace

std::int64_t stage3_state_bytes(const RunShape& run) {
  RunShape sliced = run;
  sliced.sharding = Sharding::kStage2;
  const std::int64_t gathered = 2 * run.compute_bytes * largest_unit_elements(sliced);
  return weight_bytes(sliced) / run.ranks + gradient_bytes(sliced) + master_bytes(sliced) + moment_bytes(sliced) +
         wire_buffer_bytes(sliced) + gathered;
}

std::int64_t offload_state_bytes(const RunShape& run) {
  RunShape sliced = run;
  sliced.sharding = Sharding::kStage2;
  return weight_bytes(sliced) + gradient_bytes(sliced) + wire_buffer_bytes(sliced);
}

std::vector<Alternative> what_fits(const RunShape& run, const Accelerator& device) {
  return Fitting(run, device).find();
}

}  // namespace baichuan
