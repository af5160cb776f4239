#include "train/memory_plan.h"

#include <algorithm>
#include <array>

#include "train/memory_terms.h"

namespace baichuan {

namespace {

struct Moment {
  PeakMoment when;
  std::int64_t activations, loss, working;

  std::int64_t bytes() const { return activations + loss + working; }
};

}  // namespace

std::string_view peak_moment_text(PeakMoment moment) {
  switch (moment) {
    case PeakMoment::kLoss:
      return "at the loss";
    case PeakMoment::kLastLayerBackward:
      return "in the backward pass of the last layer";
    case PeakMoment::kRecomputedLayer:
      return "in the backward pass of a recomputed layer";
    case PeakMoment::kEmbeddingBackward:
      return "in the backward pass of the embedding";
    case PeakMoment::kOptimizerStep:
      return "in the optimiser's step";
    case PeakMoment::kEvaluation:
      return "in evaluation";
  }
  return "";
}

MemoryPlan plan_memory(const RunShape& run) {
  const std::int64_t recomputed = std::min(run.recomputed_layers, run.model.num_layers);
  const std::int64_t layer = layer_bytes_per_token(run) * run.tokens() + heap_hole_bytes_of_layer(run);
  const std::int64_t inputs = recomputed * recomputed_layer_bytes_per_token(run) * run.tokens();
  const std::int64_t kept = inputs + (run.model.num_layers - recomputed) * layer;
  const std::int64_t backward = layer_backward_working_bytes(run);
  const bool last_is_recomputed = recomputed == run.model.num_layers;
  const std::array moments{
      Moment{PeakMoment::kLoss, kept + final_norm_bytes(run), loss_working_bytes(run), 0},
      Moment{PeakMoment::kLastLayerBackward, kept + final_norm_bytes(run), 0, last_is_recomputed ? 0 : backward},
      Moment{PeakMoment::kRecomputedLayer, inputs + (recomputed > 0 ? layer : 0) + final_norm_bytes(run), 0,
             recomputed > 0 ? backward : 0},
      Moment{PeakMoment::kEmbeddingBackward, 0, 0, run.full ? embedding_backward_working_bytes(run) : 0},
      Moment{PeakMoment::kOptimizerStep, 0, 0, optimizer_working_bytes(run)},
      Moment{PeakMoment::kEvaluation, 0, 0, evaluation_working_bytes(run)},
  };
  const auto& peak = *std::max_element(moments.begin(), moments.end(),
                                       [](const Moment& a, const Moment& b) { return a.bytes() < b.bytes(); });
  MemoryPlan plan;
  plan.weights = weight_bytes(run);
  plan.gradients = gradient_bytes(run);
  plan.masters = master_bytes(run);
  plan.moments = moment_bytes(run);
  plan.wire_buffers = wire_buffer_bytes(run);
  plan.peak = peak.when;
  plan.activations = peak.activations;
  plan.loss = peak.loss;
  plan.working = peak.working;
  return plan;
}

std::int64_t layers_to_recompute(const RunShape& run, std::int64_t budget_bytes) {
  RunShape tried = run;
  for (tried.recomputed_layers = 0; tried.recomputed_layers < run.model.num_layers; ++tried.recomputed_layers)
    if (plan_memory(tried).allocated_bytes() <= budget_bytes) break;
  return tried.recomputed_layers;
}

std::int64_t recomputed_layers(const std::string& text,
                               bool compat_2023,
                               const RunShape& run,
                               std::int64_t budget_bytes) {
  constexpr std::size_t kMostDigits = 9;
  const std::int64_t all = run.model.num_layers;
  if (text == "all" || (text == "auto" && compat_2023)) return all;
  if (text == "none") return 0;
  if (text == "auto") return layers_to_recompute(run, budget_bytes);
  return text.size() > kMostDigits ? all : std::min<std::int64_t>(all, std::stoll(text));
}

}  // namespace baichuan
