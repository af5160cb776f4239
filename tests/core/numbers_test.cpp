#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/crc32c.h"
#include "core/error.h"
#include "core/log.h"
#include "core/nearest.h"
#include "core/philox.h"

namespace baichuan {
namespace {

TEST(Crc32c, GivesTheCheckValueOfTheStandard) {
  EXPECT_EQ(crc32c("123456789", 9), 0xe3069283u);
  EXPECT_EQ(crc32c("6789", 4, crc32c("12345", 5)), 0xe3069283u);
}

// Known answers of the Random123 distribution (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, GivesThePublishedKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(RandomOrder, IsAPermutationThatDependsOnSeedAndEpochAlone) {
  const auto order = random_order(1000, 42, 0);
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t i = 0; i < 1000; ++i) EXPECT_EQ(sorted[static_cast<std::size_t>(i)], i);
  EXPECT_EQ(order, random_order(1000, 42, 0));
  EXPECT_NE(order, random_order(1000, 42, 1));
  EXPECT_NE(order, random_order(1000, 43, 0));
}

// Each of n positions should hold each value equally often: chi-square with 9 degrees of freedom stays below 40
// (p = 1e-5) for the first position over 10,000 epochs.
TEST(RandomOrder, PutsEveryRowFirstEquallyOften) {
  std::vector<int> counts(10);
  for (std::uint64_t epoch = 0; epoch < 10000; ++epoch)
    ++counts[static_cast<std::size_t>(random_order(10, 7, epoch)[0])];
  double chi_square = 0;
  for (const int count : counts) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi_square, 40);
}

TEST(NearestName, FindsTypingErrorsAndNothingFarAway) {
  const std::vector<std::string> names{"learning_rate", "lora_rank", "output_dir"};
  EXPECT_EQ(nearest_name("learnig_rate", names), "learning_rate");
  EXPECT_EQ(nearest_name("output", names), "");
  EXPECT_EQ(nearest_name("zzzz", names), "");
}

TEST(LogLevel, RefusesUnknownNames) {
  EXPECT_EQ(log::parse_level("passive"), log::Level::kInfo);
  try {
    log::parse_level("loud");
    FAIL() << "nothing was thrown";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "--log_level must be debug, info, warning, error or off; found 'loud'");
  }
}

}  // namespace
}  // namespace baichuan
