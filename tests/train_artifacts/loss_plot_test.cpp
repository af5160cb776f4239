#include "train/loss_plot.h"

#include <cmath>
#include <cstdlib>
#include <limits>

#include <cairo.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "tests/scratch_directory.h"

// Fontconfig keeps what it has read of the fonts until the process ends: no leak of ours.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libfontconfig";
}

namespace baichuan {
namespace {

const PlotText kText{"training loss of out/lora", "loss"};
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A falling loss with noise, made by a formula.
std::vector<LossPoint> falling(int n) {
  std::vector<LossPoint> points;
  for (int i = 1; i <= n; ++i)
    points.push_back({10.0 * i, 1.1 + 1.8 * std::exp(-4.0 * i / n) + 0.16 * std::sin(i * 12.9898) * std::cos(i * 4.1)});
  return points;
}

std::string picture(const std::vector<LossPoint>& points, const PlotText& text = kText) {
  ScratchDirectory scratch;
  plot_losses(scratch / "plot.png", text, points);
  return read_file(scratch / "plot.png");
}

// Pixels of a picture that are not white.
int inked_pixels(const fs::path& png) {
  cairo_surface_t* const surface = cairo_image_surface_create_from_png(png.c_str());
  EXPECT_EQ(cairo_image_surface_get_width(surface), 1000);
  EXPECT_EQ(cairo_image_surface_get_height(surface), 600);
  int inked = 0;
  const unsigned char* const data = cairo_image_surface_get_data(surface);
  for (int y = 0; y < 600; ++y)
    for (int x = 0; x < 1000; ++x) {
      const unsigned char* const pixel = data + y * cairo_image_surface_get_stride(surface) + 4 * x;
      inked += pixel[0] != 255 || pixel[1] != 255 || pixel[2] != 255;
    }
  cairo_surface_destroy(surface);
  return inked;
}

TEST(SmoothLosses, EqualsTheRecordedValues) {
  const fs::path golden = BAICHUAN_SHARED_DATA "/golden2023/misc.json";
  if (!fs::exists(golden)) GTEST_SKIP() << "needs ../shared/data/golden2023";
  const Json misc = read_json_file(golden);
  for (const char* key : {"smooth", "smooth40"}) {
    const auto x = misc.at(key).at("x").get<std::vector<double>>();
    const auto y = misc.at(key).at("y").get<std::vector<double>>();
    const auto found = smooth_losses(x);
    ASSERT_EQ(found.size(), y.size());
    for (std::size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(found[i], y[i], 1e-13) << key << " " << i;
  }
}

TEST(SmoothLosses, PassesOverValuesThatAreNotFinite) {
  const auto smoothed = smooth_losses(std::vector<double>{kNan, 4, kNan, 4, 4});
  EXPECT_TRUE(std::isnan(smoothed[0]));
  EXPECT_DOUBLE_EQ(smoothed[1], 4);
  EXPECT_TRUE(std::isnan(smoothed[2]));
  EXPECT_DOUBLE_EQ(smoothed[4], 4);
  EXPECT_TRUE(smooth_losses({}).empty());
}

TEST(LossPlot, TicksAreRoundNumbers) {
  EXPECT_EQ(nice_ticks(0, 10, 5, false), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(nice_ticks(0.9, 3.1, 5, false), (std::vector<double>{1, 1.5, 2, 2.5, 3}));
  EXPECT_EQ(nice_ticks(0.5, 3.5, 9, true), (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(nice_ticks(-0.5, 1.5, 9, true), (std::vector<double>{0, 1}));
}

TEST(LossPlot, TickLabelsHaveTheDecimalsThatTellThemApart) {
  EXPECT_EQ(tick_label(2, 0.5), "2.0");
  EXPECT_EQ(tick_label(2.25, 0.25), "2.25");
  EXPECT_EQ(tick_label(0.001, 0.0005), "0.0010");
  EXPECT_EQ(tick_label(500, 500), "500");
  EXPECT_EQ(tick_label(5000, 5000), "5000");
  EXPECT_EQ(tick_label(20000, 5000), "20,000");
  EXPECT_EQ(tick_label(-1250000, 5000), "-1,250,000");
  EXPECT_EQ(tick_label(3e8, 1e8), "3e+08");
}

TEST(LossPlot, TheSamePointsGiveTheSameBytes) {
  const std::string first = picture(falling(200));
  EXPECT_TRUE(first.starts_with("\x89PNG"));
  EXPECT_EQ(first, picture(falling(200)));
}

TEST(LossPlot, DrawsAnyNumberOfPoints) {
  for (const int n : {0, 1, 2, 7, 200, 100'000}) {
    ScratchDirectory scratch;
    plot_losses(scratch / "plot.png", kText, falling(n));
    EXPECT_GT(inked_pixels(scratch / "plot.png"), 2000) << n;
  }
}

TEST(LossPlot, DrawsConstantHugeTinyAndMissingValues) {
  EXPECT_FALSE(picture({{1, 3.0}, {2, 3.0}, {3, 3.0}}).empty());
  EXPECT_FALSE(picture({{1, 1e30}, {2, -1e30}}).empty());
  EXPECT_FALSE(picture({{1, 1e-12}, {2, 2e-12}}).empty());
  EXPECT_FALSE(picture({{1, kNan}, {2, kNan}}).empty());
  EXPECT_FALSE(
      picture({{1, 2.0}, {2, kNan}, {3, 2.5}, {4, std::numeric_limits<double>::infinity()}, {5, 2.2}}).empty());
}

TEST(LossPlot, ALongTitleKeepsItsEnd) {
  std::string directory;
  for (int i = 0; i < 60; ++i) directory += "很长的/";
  EXPECT_FALSE(picture(falling(5), {"training loss of " + directory, "loss"}).empty());
}

// Many points in one column of pixels are thinned out, but a lone spike must not get lost.
TEST(LossPlot, ASpikeAmongManyPointsStaysVisible) {
  std::vector<LossPoint> points;
  for (int i = 0; i < 100'000; ++i) points.push_back({1.0 * i, 1.0});
  const std::string flat = picture(points);
  points[54'321].value = 50;
  points[54'322].value = 0;  // the same range of values with and without the spike's neighbours
  const std::string spike = picture(points);
  EXPECT_NE(flat, spike);
}

TEST(LossPlot, ReplacesNothingWhenItCannotWrite) {
  try {
    plot_losses("/nonexistent/plot.png", kText, falling(3));
    FAIL();
  } catch (const MachineError& error) {
    EXPECT_STREQ(error.what(), "cannot create /nonexistent/plot.png: No such file or directory");
  }
}

}  // namespace
}  // namespace baichuan
