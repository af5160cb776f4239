#include "data/sft_row.h"

#include <numeric>

#include "dataset_test_support.h"

namespace baichuan {
namespace {

using Ids = std::vector<int32_t>;

// `n` ids from `first` on, so that every position can be told.
Ids range(int32_t first, std::size_t n) {
  Ids ids(n);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

TurnIds turn(std::size_t source, std::size_t target, int32_t first = 1000) {
  return {range(first, source), range(first + 500, target)};
}

// Labels as the model sees them; -100 where nothing is learnt.
Ids labels_of(const SftRow& row) {
  Ids labels(row.ids.size(), -100);
  for (const LabelSpan& span : row.labels)
    for (uint32_t i = span.begin; i < span.end; ++i)
      labels[i] = span.label == LabelSpan::kSameAsIds ? row.ids[i] : span.label;
  return labels;
}

constexpr int32_t kEos = 2;

TEST(SftRow, LearnsTheAnswerAndItsEnd) {
  const SftRow row = make_sft_row(std::vector{turn(3, 2)}, false, kEos, {});
  EXPECT_EQ(row.ids, (Ids{1000, 1001, 1002, 1500, 1501, kEos}));
  EXPECT_EQ(labels_of(row), (Ids{-100, -100, -100, 1500, 1501, kEos}));
  EXPECT_EQ(row.label_count(), 3);
  EXPECT_FALSE(row.truncated);
}

TEST(SftRow, LabelsTheNextTurnsFirstIdWithTheEndWhereItIsNotWritten) {
  const SftRow row = make_sft_row(std::vector{turn(2, 1), turn(2, 1, 2000)}, true, kEos, {});
  EXPECT_EQ(row.ids, (Ids{1000, 1001, 1500, 2000, 2001, 2500, kEos}));
  EXPECT_EQ(labels_of(row), (Ids{-100, -100, 1500, kEos, -100, 2500, kEos}));
}

TEST(SftRow, LearnsThePromptOnRequest) {
  const SftRules rules{.train_on_prompt = true};
  for (const bool efficient : {false, true}) {
    const SftRow row = make_sft_row(std::vector{turn(2, 1), turn(2, 1, 2000)}, efficient, kEos, rules);
    EXPECT_EQ(labels_of(row), row.ids);
    EXPECT_EQ(row.labels.size(), 1U);
  }
}

TEST(SftRow, CutsPromptAndAnswerInProportion) {
  // 300 + 99 + the end = 400 into 100: 75 and 25, and a cut answer does not end.
  const SftRow row = make_sft_row(std::vector{turn(300, 99)}, false, kEos, {.cutoff_len = 100});
  EXPECT_EQ(row.ids, [] {
    Ids ids = range(1000, 75);
    const Ids answer = range(1500, 25);
    ids.insert(ids.end(), answer.begin(), answer.end());
    return ids;
  }());
  EXPECT_EQ(row.label_count(), 25);
  EXPECT_TRUE(row.truncated);
}

TEST(SftRow, CutsNothingThatFitsExactly) {
  const SftRow row = make_sft_row(std::vector{turn(60, 39)}, false, kEos, {.cutoff_len = 100});
  EXPECT_EQ(row.ids.size(), 100U);
  EXPECT_EQ(row.ids.back(), kEos);
  EXPECT_FALSE(row.truncated);
}

TEST(SftRow, GivesACutAnswerNoEndWithEfficientEosEither) {
  const SftRow row = make_sft_row(std::vector{turn(150, 50), turn(10, 5, 3000)}, true, kEos, {.cutoff_len = 100});
  EXPECT_EQ(row.ids.size(), 100U);
  EXPECT_EQ(std::count(row.ids.begin(), row.ids.end(), kEos), 0);
  const SftRow whole_last = make_sft_row(std::vector{turn(150, 51), turn(2, 1, 3000)}, true, kEos, {.cutoff_len = 110});
  // 82 + 27 of the first turn leave one id of the second: nothing says that the cut answer ended.
  EXPECT_EQ(whole_last.ids.size(), 110U);
  EXPECT_EQ(labels_of(whole_last).back(), -100);
}

TEST(SftRow, CutsTheWholeRowAtTheLimit) {
  const SftRow row = make_sft_row(std::vector{turn(40, 40), turn(40, 40, 3000)}, false, kEos, {.cutoff_len = 100});
  EXPECT_EQ(row.ids.size(), 100U);
  EXPECT_EQ(row.label_count(), 41);
  EXPECT_TRUE(row.truncated);
}

TEST(SftRow, MayHaveNothingToLearnAfterCutting) {
  EXPECT_EQ(make_sft_row(std::vector{turn(1000, 1)}, true, kEos, {.cutoff_len = 10}).label_count(), 0);
}

constexpr SftRules kJulyLimits{
    .compat = TemplateCompat::kJuly2023, .turn_limits = true, .max_source_length = 8, .max_target_length = 4};
constexpr SftRules kAugustLimits{
    .compat = TemplateCompat::kAugust2023, .turn_limits = true, .max_source_length = 8, .max_target_length = 4};

TEST(SftRow, KeepsTheEndOfACutAnswerInJuly) {
  const SftRow row = make_sft_row(std::vector{turn(9, 6)}, false, kEos, kJulyLimits);
  EXPECT_EQ(row.ids, (Ids{1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1500, 1501, 1502, kEos}));
  EXPECT_TRUE(row.truncated);
}

TEST(SftRow, LosesTheEndOfACutAnswerInAugust) {
  EXPECT_EQ(make_sft_row(std::vector{turn(1, 4)}, false, kEos, kAugustLimits).ids, (Ids{1000, 1500, 1501, 1502, 1503}));
  EXPECT_EQ(make_sft_row(std::vector{turn(1, 3)}, false, kEos, kAugustLimits).ids, (Ids{1000, 1500, 1501, 1502, kEos}));
  EXPECT_EQ(make_sft_row(std::vector{turn(1, 9)}, true, kEos, kAugustLimits).ids,
            (Ids{1000, 1500, 1501, 1502, 1503, kEos}));
}

TEST(SftRow, EndsBeforeATurnThatWouldNotFit) {
  for (const auto& rules : {kJulyLimits, kAugustLimits}) {
    const SftRow row = make_sft_row(std::vector{turn(6, 2), turn(2, 2, 3000)}, false, kEos, rules);
    EXPECT_EQ(row.ids.size(), 9U);
    EXPECT_TRUE(row.truncated);
    EXPECT_EQ(make_sft_row(std::vector{turn(4, 2), turn(2, 2, 3000)}, false, kEos, rules).ids.size(), 12U);
  }
}

TEST(SftRules, AreReadOffTheOptions) {
  DataOptions options;
  EXPECT_FALSE(SftRules::from(options).turn_limits);
  EXPECT_EQ(SftRules::from(options).cutoff_len, 1024);
  options.max_target_length = 64;
  options.template_compat = "2023-07";
  const SftRules rules = SftRules::from(options);
  EXPECT_TRUE(rules.turn_limits);
  EXPECT_EQ(rules.max_source_length, 512);
  EXPECT_EQ(rules.max_target_length, 64);
  EXPECT_EQ(rules.compat, TemplateCompat::kJuly2023);
}

}  // namespace
}  // namespace baichuan
