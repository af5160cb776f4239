// The memory of one rank at the fullest moment of a step, put together from the terms of memory_terms.h, and what
// follows from it: whether a run fits, and how many layers have to be recomputed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "train/run_shape.h"

namespace baichuan {

// Moments of a step at which memory may be fullest. The first layers are the recomputed ones, so that what the others
// keep is gone when the backward pass reaches them.
enum class PeakMoment {
  kLoss,               // every layer has kept what it keeps
  kLastLayerBackward,  // the same, less what the loss needs
  kRecomputedLayer,    // inputs of the recomputed layers, and one layer computed again
  kEmbeddingBackward,  // no activations but the embedding's gradient
  kOptimizerStep,
  kEvaluation,
};
std::string_view peak_moment_text(PeakMoment moment);

struct MemoryPlan {
  // State, there all the time.
  std::int64_t weights = 0;
  std::int64_t gradients = 0;
  std::int64_t masters = 0;
  std::int64_t moments = 0;
  std::int64_t wire_buffers = 0;
  // At the peak.
  PeakMoment peak = PeakMoment::kLoss;
  std::int64_t activations = 0;  // kept for the backward pass
  std::int64_t loss = 0;         // logits and what else the loss makes; 0 when the peak is elsewhere
  std::int64_t working = 0;      // of a layer, the embedding or the optimiser; 0 when the peak is at the loss

  std::int64_t state_bytes() const { return weights + gradients + masters + moments + wire_buffers; }
  std::int64_t allocated_bytes() const { return state_bytes() + activations + loss + working; }
};

MemoryPlan plan_memory(const RunShape& run);

// The fewest layers to recompute so that a rank allocates at most `budget_bytes`; all of them where none is enough.
// `run.recomputed_layers` is not read.
std::int64_t layers_to_recompute(const RunShape& run, std::int64_t budget_bytes);

// What --recompute_layers says: a number of layers, all, none, or auto, which is layers_to_recompute; with
// --compat 2023 auto is all layers.
std::int64_t recomputed_layers(const std::string& text,
                               bool compat_2023,
                               const RunShape& run,
                               std::int64_t budget_bytes);

}  // namespace baichuan
