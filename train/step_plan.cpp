#include "train/step_plan.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace baichuan {

StepPlan plan_steps(std::int64_t rows,
                    std::int64_t batch_size,
                    std::int64_t accumulation,
                    double epochs,
                    std::int64_t max_steps,
                    bool carry_over,
                    std::int64_t equal_shares) {
  if (rows <= 0) throw DataError("expected at least one training row; found none; check --dataset and --val_size");
  StepPlan plan{rows, batch_size, accumulation, carry_over, 0, equal_shares > 1, 0, 0};
  plan.micro_batches_per_epoch = (rows + batch_size - 1) / batch_size;
  plan.micro_batches_per_epoch = (plan.micro_batches_per_epoch + equal_shares - 1) / equal_shares * equal_shares;
  const std::int64_t micro = plan.micro_batches_per_epoch;
  plan.steps_per_epoch =
      carry_over ? std::max<std::int64_t>(micro / accumulation, 1) : (micro + accumulation - 1) / accumulation;
  plan.max_steps = max_steps > 0
                       ? max_steps
                       : static_cast<std::int64_t>(std::ceil(epochs * static_cast<double>(plan.steps_per_epoch)));
  return plan;
}

double DataPosition::epoch_done(const StepPlan& plan) const {
  return static_cast<double>(epoch) +
         static_cast<double>(micro_batch) / static_cast<double>(plan.micro_batches_per_epoch);
}

StepSequence::StepSequence(const StepPlan& plan, std::function<std::vector<std::int64_t>(std::int64_t)> order)
    : plan_(plan), order_of_(std::move(order)) {}

void StepSequence::restore(const DataPosition& position) {
  position_ = position;
  ordered_epoch_ = -1;
}

// Asked after a micro-batch was taken and counted.
bool StepSequence::step_ends_here() const {
  const bool epoch_over = position_.micro_batch == 0;
  if (!plan_.carry_over) return epoch_over || position_.micro_batch % plan_.accumulation == 0;
  return position_.total % plan_.accumulation == 0 ||
         (epoch_over && plan_.micro_batches_per_epoch <= plan_.accumulation);
}

std::vector<std::int64_t> StepSequence::rows_of(std::int64_t micro_batch) const {
  std::vector<std::int64_t> rows;
  const std::int64_t size = std::min(std::ssize(order_), plan_.rows);
  for (std::int64_t i = micro_batch * plan_.batch_size; i < (micro_batch + 1) * plan_.batch_size; ++i)
    if (i < size || plan_.filled_up) rows.push_back(order_[static_cast<std::size_t>(i % size)]);
  return rows;
}

PlannedStep StepSequence::next() {
  PlannedStep step;
  do {
    if (ordered_epoch_ != position_.epoch) {
      order_ = order_of_(position_.epoch);
      ordered_epoch_ = position_.epoch;
    }
    step.micro_batches.push_back({position_.epoch, position_.micro_batch, rows_of(position_.micro_batch)});
    ++position_.total;
    if (++position_.micro_batch == plan_.micro_batches_per_epoch) {
      position_.micro_batch = 0;
      ++position_.epoch;
    }
  } while (!step_ends_here());
  return step;
}

bool StepSequence::at_epoch_end() const {
  if (position_.total == 0) return false;
  if (position_.micro_batch == 0) return true;
  if (!plan_.carry_over || plan_.micro_batches_per_epoch <= plan_.accumulation) return false;
  const std::int64_t missing = plan_.accumulation - position_.total % plan_.accumulation;
  return plan_.micro_batches_per_epoch - position_.micro_batch < missing;
}

}  // namespace baichuan
