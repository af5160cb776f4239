#include "train/memory_terms.h"

#include <gtest/gtest.h>

#include "tests/plan/plan_runs.h"

namespace baichuan {
namespace {

constexpr double kGigabyte = 1e9;
// The tables of the design are rounded to a hundredth of a gigabyte; padding adds 2 MB.
constexpr double kRounded = 0.006;

double gigabytes(std::int64_t bytes) {
  return static_cast<double>(bytes) / kGigabyte;
}

RunShape with(RunShape run, Sharding sharding) {
  run.sharding = sharding;
  return run;
}

TEST(MemoryTerms, UnitsAddUpToTheModel) {
  for (const char* const preset : {"7b", "13b", "baichuan2-7b", "baichuan2-13b"}) {
    const BaichuanConfig model = preset_config(preset);
    EXPECT_EQ(embedding_elements(model) + model.num_layers * layer_elements(model) + head_elements(model),
              model.num_parameters());
  }
  EXPECT_EQ(layer_elements(preset_config("13b")), 315'238'400);
  EXPECT_EQ(trained_elements(readme_run()), 13'264'901'120);
}

TEST(MemoryTerms, EveryUnitIsPaddedToWholeSlices) {
  const RunShape run = readme_run();
  const std::int64_t padded = padded_trained_elements(run);
  EXPECT_EQ(padded % (run.ranks * kShardBlock), 0);
  EXPECT_GE(padded, trained_elements(run));
  EXPECT_LT(padded, trained_elements(run) + 42 * run.ranks * kShardBlock);
  EXPECT_EQ(padded_trained_elements(with(run, Sharding::kPlain)), trained_elements(run));
}

TEST(MemoryTerms, TheReadmesStateOnEightGpusIsTheDesignsTable) {
  const RunShape run = readme_run();
  EXPECT_NEAR(gigabytes(weight_bytes(run)), 26.53, kRounded);
  EXPECT_NEAR(gigabytes(master_bytes(run)), 6.63, kRounded);
  EXPECT_NEAR(gigabytes(moment_bytes(run)), 13.27, kRounded);
  EXPECT_NEAR(gigabytes(gradient_bytes(run)), 6.63, kRounded);
  EXPECT_NEAR(gigabytes(weight_bytes(run) + master_bytes(run) + moment_bytes(run) + gradient_bytes(run)), 53.06,
              2 * kRounded);
}

TEST(MemoryTerms, LowerStagesKeepMoreOnEveryRank) {
  const RunShape run = readme_run();
  const double parameters = 13.264901120;
  const RunShape stage0 = with(run, Sharding::kStage0);
  const RunShape stage1 = with(run, Sharding::kStage1);
  EXPECT_NEAR(gigabytes(gradient_bytes(stage0)), (4 + 4) * parameters, 0.01);
  EXPECT_NEAR(gigabytes(master_bytes(stage0)), 4 * parameters, 0.01);
  EXPECT_NEAR(gigabytes(moment_bytes(stage0)), 8 * parameters, 0.01);
  EXPECT_NEAR(gigabytes(gradient_bytes(stage1)), (4 + 4.0 / 8) * parameters, 0.01);
  RunShape in_order = stage0;
  in_order.deterministic_reduce = true;
  EXPECT_NEAR(gigabytes(gradient_bytes(in_order)), 4 * parameters, 0.01) << "every micro-batch is reduced at once";
  in_order.sharding = Sharding::kStage1;
  EXPECT_EQ(gradient_bytes(in_order), gradient_bytes(run));
  EXPECT_EQ(master_bytes(stage1), master_bytes(run));
  EXPECT_EQ(moment_bytes(stage1), moment_bytes(run));
}

TEST(MemoryTerms, Float32WeightsAreTheirOwnMasters) {
  RunShape run = readme_run();
  run.compute_bytes = 4;
  EXPECT_EQ(master_bytes(run), 0);
  EXPECT_EQ(master_bytes(lora_run()), 0) << "adapters are float32";
}

TEST(MemoryTerms, AnAdapterIsSixteenBytesAParameterBesideAFrozenModel) {
  const RunShape run = lora_run();
  const std::int64_t adapter = 40LL * 8 * (5120 + 3 * 5120);
  EXPECT_EQ(trained_elements(run), adapter);
  EXPECT_EQ(adapter, 6'553'600);
  EXPECT_EQ(weight_bytes(run) + gradient_bytes(run) + moment_bytes(run), 2 * 13'264'901'120 + 16 * adapter);
}

TEST(MemoryTerms, TwoUnitsTravelAtOnceInBothDirections) {
  RunShape run = readme_run();
  const std::int64_t largest = largest_unit_elements(run);
  EXPECT_GE(largest, head_elements(run.model));
  EXPECT_EQ(wire_buffer_bytes(run), 2 * kWireBuffers * 2 * largest);
  EXPECT_EQ(wire_buffer_bytes(with(run, Sharding::kPlain)), 0);
  EXPECT_EQ(wire_buffer_bytes(with(run, Sharding::kStage0)), wire_buffer_bytes(run));
  run.compute_bytes = 4;
  EXPECT_EQ(wire_buffer_bytes(run), 2 * kWireBuffers * 4 * largest);
  run.ranks = 1;
  EXPECT_EQ(wire_buffer_bytes(run), 0) << "nothing travels";
}

TEST(MemoryTerms, AFullLayerKeeps164264BytesATokenIn16Bits) {
  // 16 h + 6 I + 4 a + 8 with h = 5120, I = 13696, a = 40 (the design's table prints 164,248, 16 too few).
  EXPECT_EQ(layer_bytes_per_token(readme_run()), 16 * 5120 + 6 * 13696 + 4 * 40 + 8);
  EXPECT_EQ(layer_bytes_per_token(readme_run()), 164'264);
  EXPECT_EQ(recomputed_layer_bytes_per_token(readme_run()), 2 * 5120);
}

TEST(MemoryTerms, AFrozenLayerKeepsOnlyWhatItsAdaptersNeed) {
  RunShape run = lora_run();
  // Without the second normed input (h) and the product (I), with x A^T (rank 8).
  EXPECT_EQ(layer_bytes_per_token(run), 164'264 - 2 * 5120 - 2 * 13696 + 2 * 8);
  run.lora_targets = {"W_pack", "o_proj", "gate_proj", "up_proj", "down_proj"};
  EXPECT_EQ(layer_bytes_per_token(run), 164'264 + 2 * 8 * 5);
}

TEST(MemoryTerms, PlainAttentionKeepsNoSums) {
  RunShape run = readme_run();
  run.official_alibi = true;
  EXPECT_EQ(layer_bytes_per_token(run), 164'264 - 4 * 40);
}

TEST(MemoryTerms, LogitsAreMadeInChunksOf128MiBIn16Bits) {
  RunShape run = readme_run();
  EXPECT_LE(logit_chunk_bytes(run), 128 << 20);
  EXPECT_GT(logit_chunk_bytes(run), 112 << 20);
  run.batch = 1;
  run.longest = 100;
  EXPECT_EQ(logit_chunk_bytes(run), 2 * 100 * 64'000) << "a small batch is one chunk";
}

TEST(MemoryTerms, AFrozenOutputMatrixGetsNoGradient) {
  RunShape full = readme_run();
  RunShape lora = lora_run();
  EXPECT_EQ(loss_working_bytes(full) - loss_working_bytes(lora), (4 + 2) * 64'000LL * 5120);
}

TEST(MemoryTerms, AFloat32OutputMatrixHasTwoGradientsInTheBackwardPassOfAGpu) {
  RunShape run = readme_run(16);
  run.compute_bytes = 4;
  EXPECT_EQ(loss_working_bytes(run), 2LL * 4 * 64'000 * 5120);
}

TEST(MemoryTerms, NormHeadCopiesTheOutputMatrix) {
  RunShape run = lora_run();
  const std::int64_t without = loss_working_bytes(run);
  run.model.norm_head = true;
  EXPECT_EQ(loss_working_bytes(run) - without, 2 * 64'000LL * 5120) << "rows of length 1";
  run.full = true;
  EXPECT_EQ(loss_working_bytes(run), 5LL * 2 * 64'000 * 5120) << "the backward pass of the division";
}

TEST(MemoryTerms, AFrozenModelOfAnotherTypeIsConvertedMatrixByMatrix) {
  RunShape run = lora_run();
  const std::int64_t same = loss_working_bytes(run);
  run.frozen_bytes = 4;
  EXPECT_EQ(loss_working_bytes(run) - same, 2 * 64'000LL * 5120);
  EXPECT_EQ(weight_bytes(run), 4 * 13'264'901'120 + 4LL * 6'553'600);
}

TEST(MemoryTerms, OnlySmallBlocksLeaveHolesInTheHeap) {
  RunShape run = lora_run();
  EXPECT_EQ(heap_hole_bytes_of_layer(run), 0) << "a GPU has another allocator";
  run.on_gpu = false;
  run.batch = 1;
  EXPECT_EQ(heap_hole_bytes_of_layer(run), 2 * (5120 + 13696) * 1024) << "normed input and product, 28 MB at most";
  run.batch = 4;
  EXPECT_EQ(heap_hole_bytes_of_layer(run), 0) << "42 MB and more are mapped by themselves";
  run.full = true;
  EXPECT_EQ(heap_hole_bytes_of_layer(run), 0);
}

TEST(MemoryTerms, OnCpuA16BitWeightGradientIsWidenedOnItsWay) {
  RunShape run = readme_run(16);
  run.sharding = Sharding::kPlain;
  run.ranks = 1;
  const std::int64_t largest = 3 * 5120LL * 5120;
  const std::int64_t on_gpu = embedding_backward_working_bytes(run);
  run.on_gpu = false;
  EXPECT_EQ(embedding_backward_working_bytes(run) - on_gpu, 4 * 64'000LL * 5120);
  EXPECT_GE(layer_backward_working_bytes(run), (2 + 4) * largest);
}

TEST(MemoryTerms, TheOptimizerMeasuresTheLargestGradientInFloat64) {
  RunShape run = readme_run();
  EXPECT_EQ(optimizer_working_bytes(run), 8 * largest_unit_elements(run) / 8);
  run.sharding = Sharding::kPlain;
  EXPECT_EQ(optimizer_working_bytes(run), 8 * 64'000LL * 5120);
}

TEST(MemoryTerms, AStepSendsWhatItsStageSays) {
  const RunShape run = readme_run();
  const double parameters = static_cast<double>(padded_trained_elements(run));
  const double others = 7.0 / 8;
  EXPECT_DOUBLE_EQ(static_cast<double>(communication_bytes_per_step(run)), (8 + 1) * 2 * parameters * others);
  const auto bytes_of_stage = [&](Sharding stage) {
    return static_cast<double>(communication_bytes_per_step(with(run, stage)));
  };
  EXPECT_DOUBLE_EQ(bytes_of_stage(Sharding::kStage1), (2 + 2) * parameters * others);
  EXPECT_DOUBLE_EQ(bytes_of_stage(Sharding::kStage0), (2 + 4) * parameters * others) << "summed gradients are float32";
  RunShape wide = run;
  wide.wire_bytes = 4;
  EXPECT_DOUBLE_EQ(static_cast<double>(communication_bytes_per_step(wide)), (8 * 4 + 2) * parameters * others);
  EXPECT_EQ(wire_buffer_bytes(wide), 2 * wire_buffer_bytes(run));
  RunShape alone = run;
  alone.ranks = 1;
  EXPECT_EQ(communication_bytes_per_step(alone), 0);
  RunShape adapters = lora_run();
  adapters.sharding = Sharding::kStage0;
  adapters.ranks = 2;
  EXPECT_DOUBLE_EQ(static_cast<double>(communication_bytes_per_step(adapters)),
                   2 * 4 * static_cast<double>(padded_trained_elements(adapters)) / 2)
      << "adapters travel in float32";
}

TEST(MemoryTerms, TheReadmesCheckpointHas186GigabytesAndTheModel27) {
  EXPECT_NEAR(gigabytes(checkpoint_bytes(readme_run())), 185.71, kRounded);
  EXPECT_NEAR(gigabytes(final_model_bytes(readme_run())), 26.53, kRounded);
  RunShape stored_in_float32 = readme_run();
  stored_in_float32.stored_bytes = 4;
  EXPECT_EQ(checkpoint_bytes(stored_in_float32), 12 * 13'264'901'120) << "no masters: the weights are exact";
  EXPECT_EQ(checkpoint_bytes(lora_run()), 12 * 6'553'600);
}

TEST(MemoryTerms, TheHostHoldsOneCopyOfTheSlicesThatAreSaved) {
  EXPECT_NEAR(gigabytes(host_checkpoint_copy_bytes(readme_run())), 12 * 13.2649 / 8, kRounded);
  EXPECT_EQ(host_checkpoint_copy_bytes(lora_run()), 0) << "one process writes tensor by tensor";
  EXPECT_EQ(host_bytes(lora_run()), host_runtime_bytes() + host_loading_bytes());
}

}  // namespace
}  // namespace baichuan
