// The micro-batches of a step as tensors: this rank's own, and the counts of all.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/sft_dataset.h"
#include "train/step_plan.h"
#include "train/train_step.h"

namespace baichuan {

class ProcessGroup;

// Rows of a data set as one micro-batch.
Batch batch_of_rows(const SftDataset& rows,
                    std::span<const std::int64_t> indices,
                    std::int64_t pad_id,
                    at::Device device);

struct StepBatches {
  std::vector<Batch> own;
  std::int64_t micro_batches = 0;
  std::int64_t target_tokens = 0;
  std::int64_t tokens = 0;
  std::int64_t padded_tokens = 0;  // as the tensors have them
  std::int64_t rows = 0;

  StepWork work() const { return {own, micro_batches, target_tokens, tokens}; }
};

// Every rank knows the whole plan and the mapped rows, so that nothing need be asked of the others.
StepBatches make_step_batches(
    const PlannedStep& step, const SftDataset& rows, std::int64_t pad_id, at::Device device, const ProcessGroup& group);

struct EvaluationFigures {
  double loss = 0;        // what eval_loss reports
  double token_loss = 0;  // mean over labelled tokens
  double seconds = 0;
  std::int64_t batches = 0;
  int stop_signal = 0;  // a rank was asked to stop: the figures are of no use
};

struct EvaluationPlan {
  std::int64_t batch_size = 1;
  // The mean over rows of their batches' means; over several ranks, the last batch is filled up with the first rows.
  bool compat_2023 = false;
  std::int64_t pad_id = 0;
};

// Batch i is rank i modulo the number of ranks'; sums are made in the order of the batches.
EvaluationFigures evaluate_rows(TrainStep& step,
                                const SftDataset& rows,
                                const EvaluationPlan& plan,
                                at::Device device,
                                ProcessGroup& group,
                                const std::function<int()>& interrupt_signal);

}  // namespace baichuan
