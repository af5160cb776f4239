// Which rows make up which optimiser step. Two rules: ours (an epoch's last step takes the short rest) and that of
// the 2023 stack, where left-over micro-batches carry over into the next epoch (transformers 4.31,
// Trainer._inner_training_loop; measured in a recorded run).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace baichuan {

struct StepPlan {
  std::int64_t rows = 0;
  std::int64_t batch_size = 1;               // rows of a micro-batch
  std::int64_t accumulation = 1;             // micro-batches of a step, over all ranks (G x ranks)
  bool carry_over = false;                   // the rule of 2023
  std::int64_t micro_batches_per_epoch = 0;  // L = ceil(rows / batch_size), over all ranks
  bool filled_up = false;                    // the last micro-batches take rows from the epoch's beginning
  std::int64_t steps_per_epoch = 0;
  std::int64_t max_steps = 0;
};

// `rows` is how many of an epoch's rows are taken, in its order. `max_steps` above 0 replaces `epochs`. `equal_shares`
// above 1 fills every epoch up, so that as many ranks get as many micro-batches of full size each (accelerate 0.21,
// BatchSamplerShard). Throws DataError when there are no rows.
StepPlan plan_steps(std::int64_t rows,
                    std::int64_t batch_size,
                    std::int64_t accumulation,
                    double epochs,
                    std::int64_t max_steps,
                    bool carry_over,
                    std::int64_t equal_shares = 1);

struct PlannedMicroBatch {
  std::int64_t epoch;
  std::int64_t index;              // within the epoch
  std::vector<std::int64_t> rows;  // of the training set
};

struct PlannedStep {
  std::vector<PlannedMicroBatch> micro_batches;
};

// Where a run stands between two steps; saved in checkpoints.
struct DataPosition {
  std::int64_t epoch = 0;
  std::int64_t micro_batch = 0;  // the next one within the epoch; never equals L
  std::int64_t total = 0;        // micro-batches since the start
  // The epoch as logs show it: whole epochs plus the share of the current one that is done.
  double epoch_done(const StepPlan& plan) const;
};

class StepSequence {
 public:
  // `order(epoch)` gives the epoch's row order; called once an epoch, when its first micro-batch is due.
  StepSequence(const StepPlan& plan, std::function<std::vector<std::int64_t>(std::int64_t epoch)> order);

  PlannedStep next();
  const DataPosition& position() const { return position_; }
  // Goes on from a saved position; `order` must give the current epoch's order again.
  void restore(const DataPosition& position);
  // No full step is left in the current epoch: the time for what happens at the end of an epoch.
  bool at_epoch_end() const;

 private:
  bool step_ends_here() const;
  std::vector<std::int64_t> rows_of(std::int64_t micro_batch) const;

  StepPlan plan_;
  std::function<std::vector<std::int64_t>(std::int64_t)> order_of_;
  DataPosition position_;
  std::int64_t ordered_epoch_ = -1;
  std::vector<std::int64_t> order_;
};

}  // namespace baichuan
