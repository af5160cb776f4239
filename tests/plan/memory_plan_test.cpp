#include "train/memory_plan.h"

#include <gtest/gtest.h>

#include "tests/plan/plan_runs.h"
#include "train/memory_terms.h"

namespace baichuan {
namespace {

// What an A100-80G leaves to tensors, as the design has it.
constexpr std::int64_t kBudgetBytes = 80'000'000'000;

std::int64_t allocated(RunShape run, std::int64_t recomputed) {
  run.recomputed_layers = recomputed;
  return plan_memory(run).allocated_bytes();
}

TEST(MemoryPlan, TheReadmesRunIsTheSumOfItsTermsByHand) {
  const RunShape run = readme_run();
  // State 53.07 GB, ring 4 x 0.655 GB, 40 x 164,264 B x 4,096 tokens, the final norm's two tensors; the loss: a chunk
  // of logits of 131 MB, labelled rows and their gradient 84 MB, the output matrix's gradient in 4 and in 2 bytes.
  const double by_hand = 53.064 + 2.622 + 26.910 + 0.084 + (0.131 + 0.084 + 1.966);
  EXPECT_NEAR(static_cast<double>(allocated(run, 0)) / 1e9, by_hand, 0.03);
  EXPECT_EQ(plan_memory(run).peak, PeakMoment::kLoss);
}

// The design counts 30, 13 and 4 layers without recomputation. It keeps three layers' buckets (ours: four of the
// largest unit, 0.7 GB more), adds one and a half layers of working memory to everything that is kept (ours are not
// there at the same time: recomputed layers come first, and when the backward pass reaches them the others' activations
// are gone), and charges a kept layer with its input once more (0.04 GB at 1,024 tokens). Against that stands the
// output matrix's gradient, 1.97 GB, which it counts in its chunk of logits.
TEST(MemoryPlan, KeepsAFewMoreLayersThanTheDesignReckoned) {
  const auto kept = [](std::int64_t longest) { return 40 - layers_to_recompute(readme_run(longest), kBudgetBytes); };
  EXPECT_EQ(kept(1024), 32);
  EXPECT_EQ(kept(2048), 14);
  EXPECT_EQ(kept(4096), 5);
}

TEST(MemoryPlan, RecomputesNoMoreLayersThanNeeded) {
  for (const std::int64_t longest : {1024, 2048, 4096}) {
    const RunShape run = readme_run(longest);
    const std::int64_t layers = layers_to_recompute(run, kBudgetBytes);
    EXPECT_LE(allocated(run, layers), kBudgetBytes);
    EXPECT_GT(allocated(run, layers - 1), kBudgetBytes);
  }
}

TEST(MemoryPlan, RecomputesEverythingWhereNothingIsEnough) {
  EXPECT_EQ(layers_to_recompute(readme_run(), 1), 40);
  EXPECT_EQ(layers_to_recompute(readme_run(), std::int64_t{1} << 50), 0);
}

TEST(MemoryPlan, MoreRecomputedLayersNeverNeedMoreUntilTheLast) {
  for (const RunShape& run : {readme_run(), readme_run(4096), lora_run()})
    for (std::int64_t layers = 1; layers < run.model.num_layers; ++layers)
      EXPECT_LE(allocated(run, layers), allocated(run, layers - 1)) << layers;
}

TEST(MemoryPlan, AllLayersRecomputedStillComputeOneAtATime) {
  RunShape run = readme_run(4096);
  run.recomputed_layers = 40;
  const MemoryPlan plan = plan_memory(run);
  EXPECT_EQ(plan.peak, PeakMoment::kRecomputedLayer);
  EXPECT_EQ(plan.activations, (40 * recomputed_layer_bytes_per_token(run) + layer_bytes_per_token(run)) * run.tokens() +
                                  final_norm_bytes(run));
  EXPECT_EQ(plan.working, layer_backward_working_bytes(run));
  EXPECT_EQ(plan.loss, 0) << "the loss is over by then";
}

TEST(MemoryPlan, ShortRowsArePeakingInTheOptimizersStep) {
  RunShape run = readme_run(16);
  run.sharding = Sharding::kPlain;
  run.ranks = 1;
  run.batch = 1;
  EXPECT_EQ(plan_memory(run).peak, PeakMoment::kOptimizerStep);
}

TEST(MemoryPlan, LargeEvaluationBatchesMayBeThePeak) {
  RunShape run = readme_run();
  run.eval_batch = 4;
  EXPECT_EQ(plan_memory(run).peak, PeakMoment::kLoss);
  run.eval_batch = 512;
  const MemoryPlan plan = plan_memory(run);
  EXPECT_EQ(plan.peak, PeakMoment::kEvaluation);
  EXPECT_EQ(plan.working, 2LL * 512 * 1024 * 3 * (5120 + 13696));
}

TEST(MemoryPlan, EveryMomentHasItsWords) {
  for (const PeakMoment moment : {PeakMoment::kLoss, PeakMoment::kLastLayerBackward, PeakMoment::kRecomputedLayer,
                                  PeakMoment::kEmbeddingBackward, PeakMoment::kOptimizerStep, PeakMoment::kEvaluation})
    EXPECT_FALSE(peak_moment_text(moment).empty());
}

TEST(RecomputedLayers, FollowTheFlag) {
  const RunShape run = readme_run();
  EXPECT_EQ(recomputed_layers("all", false, run, kBudgetBytes), 40);
  EXPECT_EQ(recomputed_layers("none", false, run, kBudgetBytes), 0);
  EXPECT_EQ(recomputed_layers("7", false, run, kBudgetBytes), 7);
  EXPECT_EQ(recomputed_layers("100000000000000000000", false, run, kBudgetBytes), 40);
  EXPECT_EQ(recomputed_layers("auto", false, run, kBudgetBytes), 8);
  EXPECT_EQ(recomputed_layers("auto", true, run, kBudgetBytes), 40) << "as in 2023";
}

}  // namespace
}  // namespace baichuan
