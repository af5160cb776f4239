#include "train/step_estimate.h"

#include <algorithm>

#include "train/memory_terms.h"

namespace baichuan {

namespace {

// Of a micro-batch's computation, the part behind which transfers can hide: the backward pass for reductions. On CPU
// ranks transfers run on the cores that compute.
constexpr double kHidingShare = 0.6;

// Memory traffic of the optimiser's step, bytes for each element that a rank owns: gradient read twice (norm, update),
// master read and written, two moments read and written, weight written.
constexpr double kOptimizerBytesPerElement = 4 + 4 + 8 + 16 + 2;

double layer_weights(const BaichuanConfig& m) {
  return static_cast<double>(layer_elements(m) - 2 * m.hidden_size);
}

}  // namespace

double forward_operations_of_layer(const BaichuanConfig& m, double length) {
  return 2 * layer_weights(m) + 2 * length * static_cast<double>(m.hidden_size);
}

double operations_per_token(const RunShape& run, const RowStatistics& rows) {
  const auto& m = run.model;
  const double passes_of_weights = run.full ? 3 : 2;
  const double attention = 2 * rows.mean_padded_tokens * static_cast<double>(m.hidden_size);
  const double layer = passes_of_weights * 2 * layer_weights(m) + 3 * attention;
  const double head = passes_of_weights * 2 * static_cast<double>(embedding_elements(m)) * rows.labelled_share;
  const double again = static_cast<double>(std::min(run.recomputed_layers, m.num_layers)) *
                       forward_operations_of_layer(m, rows.mean_padded_tokens);
  return static_cast<double>(m.num_layers) * layer + head + again;
}

StepEstimate estimate_step(const RunShape& run, const RowStatistics& rows, const Accelerator& device) {
  const double peak = run.compute_bytes == 2 ? device.half_flops : device.float_flops;
  const double padded_tokens = static_cast<double>(run.batch * run.accumulation) * rows.mean_padded_tokens;
  StepEstimate step;
  step.compute_seconds = padded_tokens * operations_per_token(run, rows) / (peak * device.efficiency);
  step.communication_seconds = static_cast<double>(communication_bytes_per_step(run)) / device.link_bandwidth;
  // Stage 2 sends in every micro-step, the others in the last one.
  const double micro_steps = run.sharding == Sharding::kStage2 ? static_cast<double>(run.accumulation) : 1;
  const double hiding =
      device.is_gpu() ? kHidingShare * step.compute_seconds * micro_steps / static_cast<double>(run.accumulation) : 0;
  step.exposed_seconds = std::max(0.0, step.communication_seconds - hiding);
  const bool owns_all = run.sharding == Sharding::kPlain || run.sharding == Sharding::kStage0;
  const double owned = static_cast<double>(trained_elements(run)) / static_cast<double>(owns_all ? 1 : run.ranks);
  step.optimizer_seconds = owned * kOptimizerBytesPerElement / device.memory_bandwidth;
  return step;
}

}  // namespace baichuan
