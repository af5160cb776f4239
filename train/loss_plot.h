// training_loss.png and training_eval_loss.png: the measured values faint, their smoothed course over them.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace baichuan {

struct LossPoint {
  double step = 0;
  double value = 0;
};

// Exponential moving average whose weight grows with the number of points, from about 0 (a few points: the curve as
// it is) to 0.9 (hundreds). Values that are not finite are passed over: the course goes on from the last one.
std::vector<double> smooth_losses(std::span<const double> values);

struct PlotText {
  std::string title;
  std::string y_label;
  std::string x_label = "step";
};

// Writes the picture (1000 × 600) whole or not at all. Points come in the order of their steps; gaps are left where
// values are not finite. With one and the same font the bytes depend on the arguments alone; without any font
// installed Cairo's built-in one is used.
void plot_losses(const std::filesystem::path& png, const PlotText& text, std::span<const LossPoint> points);

// Round numbers about `target` in count that lie in [low, high]; low < high.
std::vector<double> nice_ticks(double low, double high, int target, bool integers_only);
// The tick as text, with as many decimals as its distance to the next one needs.
std::string tick_label(double value, double spacing);

}  // namespace baichuan
