// Law: a run that is killed at any operation on its files, and started again, ends with the same bits, logs and
// checkpoints as one that was never disturbed. Every operation: soak_test.cpp.
#include "tests/cli/disturbed_run.h"

namespace baichuan {
namespace {

using KilledTraining = DisturbedRun;

TEST_F(KilledTraining, GoesOnToTheSameEndWhereverItWasKilled) {
  const DisturbedRunKind alone;
  ASSERT_NO_FATAL_FAILURE(train_whole(alone));
  int kills = 0;
  for (int n = 2; recovers_from_crash_at(alone, n); n += 11) ++kills;  // no factor of the operations of a checkpoint
  EXPECT_GE(kills, 5);
  EXPECT_GE(resumed_runs_, 3);
}

TEST_F(KilledTraining, OfSeveralRanksGoesOnToTheSameEnd) {
  const DisturbedRunKind together{.ranks = 2};
  ASSERT_NO_FATAL_FAILURE(train_whole(together));
  int kills = 0;
  for (int n = 7; recovers_from_crash_at(together, n); n += 23) ++kills;
  EXPECT_GE(kills, 4);
  EXPECT_GE(resumed_runs_, 2);
}

}  // namespace
}  // namespace baichuan
