#include "train/step_batches.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include <torch/torch.h>

#include "distributed/process_group.h"

namespace baichuan {

namespace {

// As make_batch counts them: the label of an example's first id is nobody's target.
std::int64_t count_targets(const SftExample& example) {
  if (example.labels.empty()) return 0;
  return std::count_if(example.labels.begin() + 1, example.labels.end(),
                       [](std::int32_t label) { return label != kNoLabel; });
}

std::vector<std::int64_t> eval_batch_rows(std::int64_t batch, std::int64_t size, std::int64_t rows, bool fill_up) {
  std::vector<std::int64_t> indices;
  for (std::int64_t i = batch * size; i < (batch + 1) * size; ++i)
    if (i < rows || fill_up) indices.push_back(i % rows);
  return indices;
}

}  // namespace

Batch batch_of_rows(const SftDataset& rows,
                    std::span<const std::int64_t> indices,
                    std::int64_t pad_id,
                    at::Device device) {
  std::vector<SftExample> examples;
  for (const std::int64_t index : indices) examples.push_back(rows.example(index));
  std::vector<BatchRow> views;
  for (std::size_t i = 0; i < examples.size(); ++i) views.push_back({examples[i].ids, examples[i].labels, indices[i]});
  return make_batch(views, pad_id, device);
}

StepBatches make_step_batches(const PlannedStep& step,
                              const SftDataset& rows,
                              std::int64_t pad_id,
                              at::Device device,
                              const ProcessGroup& group) {
  StepBatches batches;
  batches.micro_batches = std::ssize(step.micro_batches);
  for (std::int64_t i = 0; i < batches.micro_batches; ++i) {
    const auto& micro = step.micro_batches[static_cast<std::size_t>(i)];
    if (i % group.size() == group.rank()) batches.own.push_back(batch_of_rows(rows, micro.rows, pad_id, device));
    std::int64_t longest = 1;
    for (const std::int64_t row : micro.rows) {
      batches.target_tokens += count_targets(rows.example(row));
      batches.tokens += rows.length(row);
      longest = std::max(longest, rows.length(row));
    }
    batches.padded_tokens += longest * std::ssize(micro.rows);
    batches.rows += std::ssize(micro.rows);
  }
  return batches;
}

EvaluationFigures evaluate_rows(TrainStep& step,
                                const SftDataset& rows,
                                const EvaluationPlan& plan,
                                at::Device device,
                                ProcessGroup& group,
                                const std::function<int()>& interrupt_signal) {
  const auto began = std::chrono::steady_clock::now();
  const std::int64_t ranks = group.size();
  const std::int64_t batches = (rows.size() + plan.batch_size - 1) / plan.batch_size;
  const std::int64_t rounds = (batches + ranks - 1) / ranks;
  at::Tensor own = at::zeros({1 + 2 * rounds}, at::kDouble);  // [signal, (sum, labelled tokens) of each batch]
  auto values = own.accessor<double, 1>();
  for (std::int64_t k = 0; k < rounds && values[0] == 0; ++k) {
    const std::int64_t i = k * ranks + group.rank();
    if (i >= batches) break;
    values[0] = interrupt_signal ? interrupt_signal() : 0;
    if (values[0] != 0) break;
    group.keep_alive();
    const auto indices = eval_batch_rows(i, plan.batch_size, rows.size(), plan.compat_2023 && ranks > 1);
    const Batch batch = batch_of_rows(rows, indices, plan.pad_id, device);
    values[1 + 2 * k] = step.evaluate(batch);
    values[2 + 2 * k] = static_cast<double>(batch.target_tokens);
  }
  const at::Tensor all = group.gather_numbers(own);
  const auto table = all.accessor<double, 2>();
  EvaluationFigures figures;
  figures.batches = batches;
  double sum = 0, tokens = 0, sum_of_means = 0;
  for (std::int64_t r = 0; r < ranks; ++r)
    figures.stop_signal = std::max(figures.stop_signal, static_cast<int>(table[r][0]));
  for (std::int64_t i = 0; i < batches; ++i) {
    const double loss = table[i % ranks][1 + 2 * (i / ranks)];
    const double counted = table[i % ranks][2 + 2 * (i / ranks)];
    const auto weight = static_cast<double>(std::min(plan.batch_size, rows.size() - i * plan.batch_size));
    sum += loss;
    tokens += counted;
    if (counted > 0) sum_of_means += loss / counted * weight;
  }
  figures.token_loss = tokens > 0 ? sum / tokens : 0;
  figures.loss = plan.compat_2023 ? sum_of_means / static_cast<double>(rows.size()) : figures.token_loss;
  figures.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return figures;
}

}  // namespace baichuan
