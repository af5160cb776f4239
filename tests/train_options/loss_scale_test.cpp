#include "train/loss_scale.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"

namespace baichuan {
namespace {

LossScaleOptions deepspeed_rule(std::int64_t window = 1000, std::int64_t hysteresis = 2) {
  return {.initial_scale = 65536, .window = window, .hysteresis = hysteresis, .deepspeed_rule = true};
}

// 'o': a step that overflows, '.': a good one. The scale after each step.
std::vector<double> scales_after(LossScale& scale, const std::string& steps) {
  std::vector<double> scales;
  for (const char step : steps) {
    scale.update(step == 'o');
    scales.push_back(scale.scale());
  }
  return scales;
}

std::string failure(LossScale& scale) {
  try {
    scale.update(true);
  } catch (const TrainingError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(LossScale, FollowsTorchsRule) {
  LossScale scale({.initial_scale = 65536, .window = 3});
  EXPECT_EQ(scales_after(scale, "o...."), (std::vector<double>{32768, 32768, 32768, 65536, 65536}));
}

TEST(LossScale, DeepSpeedsScaleGrowsFirstAtIteration1000OfItsWindow) {
  LossScale scale(deepspeed_rule());
  scales_after(scale, std::string(1000, '.'));  // iterations 0 to 999
  EXPECT_EQ(scale.scale(), 65536);
  scale.update(false);
  EXPECT_EQ(scale.scale(), 131072);
  scales_after(scale, std::string(999, '.'));
  EXPECT_EQ(scale.scale(), 131072);
  scale.update(false);  // iteration 2000
  EXPECT_EQ(scale.scale(), 262144);
}

TEST(LossScale, DeepSpeedsHysteresisForgivesOnceAndStaysUsedUp) {
  LossScale scale(deepspeed_rule());
  EXPECT_EQ(scales_after(scale, "ooo"), (std::vector<double>{65536, 32768, 16384}));
  EXPECT_EQ(scale.state().hysteresis_left, 1);
  EXPECT_EQ(scales_after(scale, "..o"), (std::vector<double>{16384, 16384, 8192}));
}

TEST(LossScale, DeepSpeedsScaleGrowsAgainWindowPlusOneAfterAnOverflow) {
  LossScale scale(deepspeed_rule());
  scales_after(scale, std::string(7, '.') + "oo");  // the overflow that counts is at iteration k = 8
  EXPECT_EQ(scale.scale(), 32768);
  scales_after(scale, std::string(1000, '.'));  // k + 1 to k + 1000
  EXPECT_EQ(scale.scale(), 32768);
  scale.update(false);  // k + 1001
  EXPECT_EQ(scale.scale(), 65536);
}

TEST(LossScale, AGrowthRefillsDeepSpeedsHysteresis) {
  LossScale scale(deepspeed_rule(/*window=*/2));
  EXPECT_EQ(scales_after(scale, "oo...o"), (std::vector<double>{65536, 32768, 32768, 32768, 65536, 65536}));
  EXPECT_EQ(scale.state().hysteresis_left, 1);
}

TEST(LossScale, EveryGoodStepRefillsConsecutiveHysteresis) {
  auto options = deepspeed_rule();
  options.consecutive_hysteresis = true;
  LossScale scale(options);
  EXPECT_EQ(scales_after(scale, "o.o.oo"), (std::vector<double>{65536, 65536, 65536, 65536, 65536, 32768}));
}

TEST(LossScale, HysteresisOfOneHalvesAtEveryOverflow) {
  LossScale scale(deepspeed_rule(1000, 1));
  EXPECT_EQ(scales_after(scale, "oo"), (std::vector<double>{32768, 16384}));
}

TEST(LossScale, DeepSpeedsScaleStopsAtItsMinimumFirst) {
  auto options = deepspeed_rule(1000, 1);
  options.initial_scale = 6;
  options.min_scale = 4;
  LossScale scale(options);
  EXPECT_EQ(scales_after(scale, "o"), (std::vector<double>{4}));
  EXPECT_EQ(failure(scale),
            "expected float16 gradients to be finite under some loss scale; they still overflow at the smallest one "
            "that the DeepSpeed file allows (fp16.min_loss_scale 4, step 2), where DeepSpeed stops too; train with "
            "--bf16 or a lower --learning_rate");
}

TEST(LossScale, TorchsScaleStopsTheRunWhenItCannotHelpAnyMore) {
  LossScale scale({.initial_scale = 1.0 / 65536});
  EXPECT_EQ(failure(scale),
            "expected float16 gradients to be finite under some loss scale; they still overflow at "
            "7.62939453125e-06; train with --bf16 or a lower --learning_rate");
}

TEST(LossScale, AStaticScaleNeverChanges) {
  LossScale scale({.initial_scale = 128, .window = 1, .is_static = true, .deepspeed_rule = true});
  EXPECT_EQ(scales_after(scale, "o..o"), (std::vector<double>{128, 128, 128, 128}));
}

TEST(LossScale, ARestoredStateGoesOnAsIfNeverStopped) {
  LossScale whole(deepspeed_rule(/*window=*/3));
  scales_after(whole, "oo..");
  LossScale restored(deepspeed_rule(/*window=*/3));
  restored.restore(whole.state());
  EXPECT_EQ(scales_after(restored, "..o...."), scales_after(whole, "..o...."));
}

}  // namespace
}  // namespace baichuan
