#include "train/run_clock.h"

#include <gtest/gtest.h>

namespace baichuan {
namespace {

struct Fixture {
  double now = 100;
  RunClock make(std::int64_t total, double before = 0) {
    return RunClock(total, before, [this] { return now; });
  }
};

TEST(RunClock, EstimatesFromTheRecentStepsAlone) {
  Fixture time;
  RunClock clock = time.make(1000);
  EXPECT_FALSE(clock.remaining_seconds());
  EXPECT_FALSE(clock.tokens_per_second());
  for (int step = 1; step <= 200; ++step) {
    time.now += step <= 100 ? 10 : 2;
    clock.step_done(step, 64);
  }
  EXPECT_DOUBLE_EQ(*clock.remaining_seconds(), 800 * 2.0);
  EXPECT_DOUBLE_EQ(*clock.tokens_per_second(), 32);
  EXPECT_DOUBLE_EQ(clock.elapsed_seconds(), 100 * 10 + 100 * 2);
}

TEST(RunClock, TheFirstStepCountsOnlyWhileItIsTheOnlyOne) {
  Fixture time;
  RunClock clock = time.make(3);
  time.now += 60;
  clock.step_done(1, 10);
  EXPECT_DOUBLE_EQ(*clock.remaining_seconds(), 120);
  time.now += 5;
  clock.step_done(2, 10);
  EXPECT_DOUBLE_EQ(*clock.remaining_seconds(), 5);
  EXPECT_DOUBLE_EQ(*clock.tokens_per_second(), 2);
}

TEST(RunClock, EvaluationsAndCheckpointsAreNoPartOfAStep) {
  Fixture time;
  RunClock clock = time.make(10);
  for (int step = 1; step <= 5; ++step) {
    time.now += 1;
    clock.step_done(step, 7);
    clock.pause_steps();
    time.now += 500;
    clock.resume_steps();
  }
  EXPECT_DOUBLE_EQ(*clock.tokens_per_second(), 7);
  EXPECT_DOUBLE_EQ(*clock.remaining_seconds(), 5);
  EXPECT_DOUBLE_EQ(clock.elapsed_seconds(), 5 * 501);
}

TEST(RunClock, AResumedRunGoesOnCounting) {
  Fixture time;
  RunClock clock = time.make(10, 3600);
  time.now += 5;
  EXPECT_DOUBLE_EQ(clock.elapsed_seconds(), 3605);
}

TEST(RunClock, DurationsHaveAsManyHoursAsThereAre) {
  EXPECT_EQ(format_duration(0), "0:00:00");
  EXPECT_EQ(format_duration(59.99), "0:00:59");
  EXPECT_EQ(format_duration(3661), "1:01:01");
  EXPECT_EQ(format_duration(100 * 3600), "100:00:00");
  EXPECT_EQ(format_duration(-1), "0:00:00");
}

}  // namespace
}  // namespace baichuan
