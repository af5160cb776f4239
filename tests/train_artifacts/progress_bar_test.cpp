#include "train/progress_bar.h"

#include <gtest/gtest.h>

namespace baichuan {
namespace {

Progress half_way() {
  return {.step = 500, .total_steps = 1000, .loss = 2.34567, .tokens_per_second = 1234.4, .remaining_seconds = 754};
}

TEST(DisplayWidth, EastAsianCharactersTakeTwoColumns) {
  EXPECT_EQ(display_width("loss"), 4);
  EXPECT_EQ(display_width("评估"), 4);
  EXPECT_EQ(display_width("한글"), 4);
  EXPECT_EQ(display_width("é"), 1);
  EXPECT_EQ(display_width("e\u0301"), 1);  // a combining accent
  EXPECT_EQ(display_width("😀"), 2);
  EXPECT_EQ(display_width("█▌"), 2);
  EXPECT_EQ(display_width("\xff"), 1);
  EXPECT_EQ(display_width(""), 0);
}

TEST(DisplayWidth, CuttingNeverSplitsACharacter) {
  EXPECT_EQ(cut_to_width("评估 loss", 3), "评");
  EXPECT_EQ(cut_to_width("评估 loss", 4), "评估");
  EXPECT_EQ(cut_to_width("abc", 2), "ab");
  EXPECT_EQ(cut_to_width("abc", 0), "");
}

TEST(ProgressLine, HoldsBarStepLossSpeedAndTimeLeft) {
  EXPECT_EQ(progress_line(half_way(), 80),
            " 50% |███████████           | 500/1000  loss 2.3457  1234 tokens/s  0:12:34 left");
}

TEST(ProgressLine, NeverIsWiderThanTheTerminal) {
  Progress progress = half_way();
  progress.note = "评估";
  for (int columns = 0; columns < 200; ++columns) EXPECT_LE(display_width(progress_line(progress, columns)), columns);
}

TEST(ProgressLine, FillsByEighths) {
  Progress progress{.step = 1, .total_steps = 64};
  EXPECT_EQ(progress_line(progress, 20), "  1% |▏       | 1/64");
  progress.step = 64;
  EXPECT_EQ(progress_line(progress, 21), "100% |████████| 64/64");
}

TEST(ProgressLine, PlainLinesHoldTheSameFigures) {
  EXPECT_EQ(plain_progress_line(half_way()), "step 500/1000 (50.0 %), loss 2.3457, 1234 tokens/s, 0:12:34 left");
  EXPECT_EQ(plain_progress_line({.step = 1, .total_steps = 3, .note = "eval"}), "eval: step 1/3 (33.3 %)");
}

TEST(ProgressBar, OnATerminalDrawsAtMostTenTimesASecond) {
  std::string screen;
  int drawings = 0;
  double now = 0;
  ProgressBar bar([&](std::string_view text) { screen = text, ++drawings; },
                  {.on_terminal = true, .columns = [] { return 60; }, .now = [&] { return now; }});
  for (int step = 1; step <= 1000; ++step, now += 0.01) bar.update({.step = step, .total_steps = 1000});
  EXPECT_GE(drawings, 90);
  EXPECT_LE(drawings, 101);
  EXPECT_TRUE(screen.starts_with("\r"));
  EXPECT_TRUE(screen.ends_with("\x1b[K"));
}

TEST(ProgressBar, FinishShowsTheLastStepAndEndsTheLine) {
  std::string screen;
  ProgressBar bar([&](std::string_view text) { screen += text; },
                  {.on_terminal = true, .columns = [] { return 60; }, .now = [] { return 0.0; }});
  bar.update({.step = 1, .total_steps = 2});
  bar.update({.step = 2, .total_steps = 2});
  bar.finish();
  EXPECT_TRUE(screen.ends_with("2/2\x1b[K\n")) << screen;
  const std::string before = screen;
  bar.finish();
  EXPECT_EQ(screen, before);
}

TEST(ProgressBar, ClearTakesTheLineAway) {
  std::string screen;
  ProgressBar bar([&](std::string_view text) { screen += text; },
                  {.on_terminal = true, .columns = [] { return 60; }, .now = [] { return 0.0; }});
  bar.clear();
  EXPECT_EQ(screen, "");
  bar.update({.step = 1, .total_steps = 2});
  bar.clear();
  EXPECT_TRUE(screen.ends_with("\r\x1b[K"));
}

TEST(ProgressBar, ElsewhereOnlyLoggingStepsWriteAndInPlainLines) {
  std::string out;
  {
    ProgressBar bar([&](std::string_view text) { out += text; }, {.on_terminal = false});
    for (int step = 1; step <= 10; ++step) {
      bar.update({.step = step, .total_steps = 10});
      if (step % 5 == 0) bar.log({.step = step, .total_steps = 10});
    }
  }
  EXPECT_EQ(out, "step 5/10 (50.0 %)\nstep 10/10 (100.0 %)\n");
}

TEST(ProgressBar, AFileIsNoTerminalAndCountsAs80Columns) {
  EXPECT_EQ(terminal_columns(-1), 80);
}

}  // namespace
}  // namespace baichuan
