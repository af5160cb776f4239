#include "train/step_estimate.h"

#include <gtest/gtest.h>

#include "tests/plan/plan_runs.h"
#include "train/memory_terms.h"

namespace baichuan {
namespace {

constexpr double kRounded = 0.06;  // GF a token, tables rounded to a tenth

double gigaflops_per_token(RunShape run, std::int64_t recomputed) {
  run.recomputed_layers = recomputed;
  return operations_per_token(run, {2048, 2048, 1}) / 1e9;
}

TEST(StepEstimate, CountsThePublishedOperationsAToken) {
  EXPECT_NEAR(gigaflops_per_token(readme_run(), 0), 80.1, kRounded);
  EXPECT_NEAR(gigaflops_per_token(readme_run(), 40), 106.2, kRounded);
  EXPECT_NEAR(gigaflops_per_token(lora_run(), 0), 54.3, kRounded);
  EXPECT_NEAR(gigaflops_per_token(lora_run(), 40), 80.3, kRounded);
}

TEST(StepEstimate, UnlabelledTokensSkipTheOutputMatrix) {
  const RunShape run = readme_run();
  const double all = operations_per_token(run, {2048, 2048, 1});
  const double half = operations_per_token(run, {2048, 2048, 0.5});
  EXPECT_DOUBLE_EQ(all - half, 0.5 * 6 * 64'000.0 * 5120);
}

TEST(StepEstimate, TransfersHideBehindTheBackwardPassOfAGpu) {
  const RunShape run = readme_run();
  const StepEstimate step = estimate_step(run, {1024, 1024, 1}, *find_gpu("a100-80gb"));
  EXPECT_EQ(step.exposed_seconds, 0);
  EXPECT_NEAR(step.communication_seconds, 9 * 0.1, 0.02) << "0.1 s a pass over the weights";
  const StepEstimate short_rows = estimate_step(run, {8, 8, 1}, *find_gpu("a100-80gb"));
  EXPECT_GT(short_rows.exposed_seconds, 0);
  EXPECT_LE(short_rows.exposed_seconds, short_rows.communication_seconds);
}

TEST(StepEstimate, ProcessorsHideNothing) {
  const RunShape run = readme_run();
  const StepEstimate step = estimate_step(run, {1024, 1024, 1}, this_machine(run.ranks, /*float16=*/false));
  EXPECT_EQ(step.exposed_seconds, step.communication_seconds);
  EXPECT_DOUBLE_EQ(step.step_seconds(), step.compute_seconds + step.exposed_seconds + step.optimizer_seconds);
}

TEST(StepEstimate, MoreRanksShareTheOptimizersStep) {
  RunShape run = readme_run();
  const double eight = estimate_step(run, {1024, 1024, 1}, *find_gpu("h100")).optimizer_seconds;
  run.ranks = 16;
  EXPECT_NEAR(estimate_step(run, {1024, 1024, 1}, *find_gpu("h100")).optimizer_seconds, eight / 2, 1e-9);
  run.sharding = Sharding::kStage0;
  EXPECT_NEAR(estimate_step(run, {1024, 1024, 1}, *find_gpu("h100")).optimizer_seconds, eight * 8, 1e-9);
}

}  // namespace
}  // namespace baichuan
