#include "train/learning_rate_schedule.h"

#include <cmath>
#include <filesystem>
#include <numbers>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"

namespace baichuan {
namespace {

ScheduleOptions options(const std::string& name, std::int64_t total, std::int64_t warmup, double rate = 5e-5) {
  return {.type = parse_schedule(name), .learning_rate = rate, .total_steps = total, .warmup_steps = warmup};
}

std::string usage_error(const ScheduleOptions& wrong) {
  try {
    LearningRateSchedule schedule(wrong);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(LearningRateSchedule, RatesEqualTheRecordedOnesToTheLastBit) {
  const std::filesystem::path golden = BAICHUAN_SHARED_DATA "/golden2023/misc.json";
  if (!std::filesystem::exists(golden)) GTEST_SKIP() << "needs ../shared/data/golden2023";
  const Json misc = read_json_file(golden);
  const Json& schedules = misc.at("lr_used_at_update_t (base 5e-5)");
  int compared = 0;
  for (const auto& [key, rates] : schedules.items()) {  // "cosine.w3.T20"
    const auto first_dot = key.find('.');
    const auto second_dot = key.find('.', first_dot + 1);
    const auto warmup = std::stoll(key.substr(first_dot + 2, second_dot - first_dot - 2));
    const auto total = std::stoll(key.substr(second_dot + 2));
    if (!rates.is_array()) continue;
    const LearningRateSchedule schedule(options(key.substr(0, first_dot), total, warmup));
    for (std::size_t t = 0; t < rates.size(); ++t, ++compared)
      EXPECT_EQ(schedule.rate(static_cast<std::int64_t>(t)), rates[t].get<double>()) << key << " at update " << t;
  }
  EXPECT_GE(compared, 264);
}

TEST(LearningRateSchedule, LinearRisesAndFallsInStraightLines) {
  const LearningRateSchedule schedule(options("linear", 10, 2, 1.0));
  EXPECT_EQ(schedule.rate(0), 0);
  EXPECT_EQ(schedule.rate(1), 0.5);
  EXPECT_EQ(schedule.rate(2), 1);
  EXPECT_EQ(schedule.rate(6), 0.5);
  EXPECT_EQ(schedule.rate(10), 0);
  EXPECT_EQ(schedule.rate(11), 0);
}

TEST(LearningRateSchedule, CosineIsHalfWayDownInTheMiddle) {
  const LearningRateSchedule schedule(options("cosine", 8, 0, 2.0));
  EXPECT_EQ(schedule.rate(0), 2);
  EXPECT_NEAR(schedule.rate(4), 1, 1e-15);
  EXPECT_EQ(schedule.rate(8), 0);
}

TEST(LearningRateSchedule, PolynomialEndsAtItsFinalRate) {
  const LearningRateSchedule schedule(options("polynomial", 8, 0, 1e-3));
  EXPECT_DOUBLE_EQ(schedule.rate(8), 1e-7);
  EXPECT_DOUBLE_EQ(schedule.rate(100), 1e-7);
}

TEST(LearningRateSchedule, ConstantIgnoresTheWarmUp) {
  EXPECT_EQ(LearningRateSchedule(options("constant", 8, 4, 0.5)).rate(0), 0.5);
  EXPECT_EQ(LearningRateSchedule(options("constant_with_warmup", 8, 4, 0.5)).rate(2), 0.25);
}

TEST(LearningRateSchedule, InverseSqrtFallsWithTheRootOfTheStepsInWarmUps) {
  const LearningRateSchedule schedule(options("inverse_sqrt", 100, 4, 1.0));
  EXPECT_EQ(schedule.rate(2), 0.5);
  EXPECT_EQ(schedule.rate(4), 1);
  EXPECT_EQ(schedule.rate(16), 0.5);
  EXPECT_EQ(schedule.rate(64), 0.25);
}

TEST(LearningRateSchedule, InverseSqrtWithoutWarmUpIsWrongUsage) {
  EXPECT_EQ(usage_error(options("inverse_sqrt", 100, 0)),
            "--lr_scheduler_type inverse_sqrt needs a warm-up, whose length is its time scale; found --warmup_steps 0 "
            "and --warmup_ratio 0; give one of them");
}

TEST(LearningRateSchedule, PolynomialFromBelowItsFinalRateIsWrongUsage) {
  EXPECT_EQ(usage_error(options("polynomial", 100, 0, 1e-8)),
            "--lr_scheduler_type polynomial falls to 1e-07: --learning_rate must be above it; found 1e-08; give a "
            "larger rate or another schedule");
}

TEST(LearningRateSchedule, AnUnknownNameIsAnsweredWithTheKnownOnes) {
  try {
    parse_schedule("cosin");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(),
                 "--lr_scheduler_type must be one of linear|cosine|cosine_with_restarts|polynomial|constant|"
                 "constant_with_warmup|inverse_sqrt|reduce_lr_on_plateau; found 'cosin'");
  }
}

TEST(LearningRateSchedule, WarmUpRatioIsRoundedUpAndStepsWin) {
  EXPECT_EQ(warmup_updates({.total_steps = 101, .warmup_ratio = 0.03}), 4);
  EXPECT_EQ(warmup_updates({.total_steps = 100, .warmup_ratio = 0.03}), 3);
  EXPECT_EQ(warmup_updates({.total_steps = 100, .warmup_steps = 7, .warmup_ratio = 0.5}), 7);
  EXPECT_EQ(warmup_updates({.total_steps = 100}), 0);
}

// Patience is 10: the rate falls at the eleventh evaluation in a row that is no better.
TEST(LearningRateSchedule, PlateauCutsTheRateAfterElevenBadEvaluations) {
  LearningRateSchedule schedule(options("reduce_lr_on_plateau", 100, 0, 1e-3));
  schedule.observe(2.0);
  for (int i = 0; i < 10; ++i) schedule.observe(1.9999);  // better by less than the threshold of 1e-4 of it
  EXPECT_EQ(schedule.rate(50), 1e-3);
  schedule.observe(1.9999);
  EXPECT_DOUBLE_EQ(schedule.rate(50), 1e-4);
  schedule.observe(1.5);
  for (int i = 0; i < 10; ++i) schedule.observe(std::nan(""));
  EXPECT_DOUBLE_EQ(schedule.rate(50), 1e-4);
  schedule.observe(1.6);
  EXPECT_DOUBLE_EQ(schedule.rate(50), 1e-5);
}

TEST(LearningRateSchedule, PlateauGoesOnFromItsSavedState) {
  LearningRateSchedule one(options("reduce_lr_on_plateau", 100, 0, 1e-3));
  for (int i = 0; i < 8; ++i) one.observe(2.0);
  LearningRateSchedule other(options("reduce_lr_on_plateau", 100, 0, 1e-3));
  other.restore(Json::parse(one.state().dump()));
  for (int i = 0; i < 16; ++i) {
    one.observe(2.0);
    other.observe(2.0);
    EXPECT_EQ(one.rate(i), other.rate(i));
  }
  EXPECT_LT(one.rate(0), 1e-3);
  EXPECT_TRUE(LearningRateSchedule(options("linear", 10, 0)).state().empty());
}

// DeepSpeed's schedules: i counts from -1, as its schedulers step after the update. W is the warm-up, T the total.

ScheduleOptions deepspeed_options(ScheduleType type, std::int64_t total, std::int64_t warmup, bool linear = false) {
  return {.type = type,
          .learning_rate = 1e-3,
          .total_steps = total,
          .warmup_steps = warmup,
          .deepspeed = {.linear = linear, .min_rate = 1e-4, .min_ratio = 0.1, .end_ratio = 0.01}};
}

constexpr double kRounding = 1e-15;  // of a rate of 1e-3 in float64, over a few operations

TEST(DeepSpeedSchedule, WarmupLrRisesByTheLogarithmAndStays) {
  const LearningRateSchedule schedule(deepspeed_options(ScheduleType::kDeepSpeedWarmup, 100, 8));
  EXPECT_EQ(schedule.rate(0), 1e-4);
  EXPECT_EQ(schedule.rate(1), 1e-4) << "i = 0: ln(1) = 0";
  for (int i = 0; i < 8; ++i)
    EXPECT_NEAR(schedule.rate(i + 1), 1e-4 + 9e-4 * std::log(i + 1) / std::log(8), kRounding) << i;
  EXPECT_NEAR(schedule.rate(8), 1e-3, kRounding) << "i = 7: ln(8) / ln(8)";
  EXPECT_EQ(schedule.rate(9), 1e-3);
  EXPECT_EQ(schedule.rate(1000), 1e-3);
}

TEST(DeepSpeedSchedule, WarmupLrRisesInALineWhereTheFileSaysLinear) {
  const LearningRateSchedule schedule(deepspeed_options(ScheduleType::kDeepSpeedWarmup, 100, 8, true));
  EXPECT_EQ(schedule.rate(0), 1e-4);
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(schedule.rate(i + 1), 1e-4 + 9e-4 * i / 8, kRounding) << i;
  EXPECT_EQ(schedule.rate(9), 1e-3);
}

TEST(DeepSpeedSchedule, WarmupDecayLrFallsInALineToItsLowestRate) {
  const LearningRateSchedule schedule(deepspeed_options(ScheduleType::kDeepSpeedWarmupDecay, 18, 8));
  EXPECT_NEAR(schedule.rate(4), 1e-4 + 9e-4 * std::log(4) / std::log(8), kRounding);
  for (int i = 8; i <= 18; ++i) EXPECT_NEAR(schedule.rate(i + 1), 1e-4 + 9e-4 * (18 - i) / 10, kRounding) << i;
  EXPECT_EQ(schedule.rate(50), 1e-4);
}

TEST(DeepSpeedSchedule, WarmupCosineLrFollowsRatiosOfThePeak) {
  const LearningRateSchedule schedule(deepspeed_options(ScheduleType::kDeepSpeedWarmupCosine, 18, 8, true));
  EXPECT_EQ(schedule.rate(0), 0) << "before its first step the ratio is 0, not warmup_min_ratio";
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(schedule.rate(i + 1), 1e-3 * (0.1 + 0.9 * i / 8), kRounding) << i;
  for (int i = 8; i < 18; ++i) {
    const double wave = (1 + std::cos(std::numbers::pi * (i - 8 + 1) / 10.0)) / 2;
    EXPECT_NEAR(schedule.rate(i + 1), 1e-3 * (0.01 + 0.99 * wave), kRounding) << i;
  }
  EXPECT_NEAR(schedule.rate(18), 1e-5, kRounding);
  EXPECT_EQ(schedule.rate(40), schedule.rate(18)) << "clamped: it does not rise again";
}

TEST(DeepSpeedSchedule, AWarmUpHasAtLeastTwoSteps) {
  const LearningRateSchedule schedule(deepspeed_options(ScheduleType::kDeepSpeedWarmup, 100, 1, true));
  EXPECT_EQ(schedule.rate(1), 1e-4);
  EXPECT_NEAR(schedule.rate(2), 5.5e-4, kRounding);
  EXPECT_EQ(schedule.rate(3), 1e-3);
}

TEST(DeepSpeedSchedule, ATotalWithinTheWarmUpLeavesNothingToDecay) {
  const LearningRateSchedule decay(deepspeed_options(ScheduleType::kDeepSpeedWarmupDecay, 4, 8));
  EXPECT_EQ(decay.rate(9), 1e-4);
  const LearningRateSchedule cosine(deepspeed_options(ScheduleType::kDeepSpeedWarmupCosine, 4, 8));
  EXPECT_NEAR(cosine.rate(9), 1e-5, kRounding);
}

}  // namespace
}  // namespace baichuan
