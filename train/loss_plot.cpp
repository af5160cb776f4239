#include "train/loss_plot.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>

#include <cairo.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/files.h"

namespace baichuan {

namespace {

constexpr int kWidth = 1000;
constexpr int kHeight = 600;
constexpr double kTop = 56;
constexpr double kRight = 28;
constexpr double kBottom = 66;
constexpr double kTitleSize = 17;
constexpr double kLabelSize = 14;
constexpr double kTickSize = 12.5;
constexpr std::size_t kMarkersUpTo = 30;  // so few points are shown one by one

struct Colour {
  double red, green, blue;
};
constexpr Colour kInk{0.16, 0.18, 0.22};
constexpr Colour kFaintInk{0.38, 0.41, 0.46};
constexpr Colour kGrid{0.90, 0.91, 0.93};
constexpr Colour kCurve{0.09, 0.38, 0.71};
constexpr double kOriginalAlpha = 0.4;

struct CairoDeleter {
  void operator()(cairo_surface_t* surface) const { cairo_surface_destroy(surface); }
  void operator()(cairo_t* context) const { cairo_destroy(context); }
};

// The data's rectangle and where it lies on the picture.
struct Frame {
  double x_low, x_high, y_low, y_high;
  double left, right, top, bottom;

  double x(double step) const { return left + (step - x_low) / (x_high - x_low) * (right - left); }
  double y(double value) const { return bottom - (value - y_low) / (y_high - y_low) * (bottom - top); }
};

class Canvas {
 public:
  Canvas()
      : surface_(cairo_image_surface_create(CAIRO_FORMAT_RGB24, kWidth, kHeight)),
        context_(cairo_create(surface_.get())) {
    if (cairo_status(cr()) != CAIRO_STATUS_SUCCESS)
      throw MachineError("cannot draw a plot: {}", cairo_status_to_string(cairo_status(cr())));
    cairo_set_source_rgb(cr(), 1, 1, 1);
    cairo_paint(cr());
    cairo_set_line_join(cr(), CAIRO_LINE_JOIN_ROUND);
    cairo_set_line_cap(cr(), CAIRO_LINE_CAP_ROUND);
  }

  cairo_t* cr() const { return context_.get(); }

  void colour(const Colour& c, double alpha = 1) { cairo_set_source_rgba(cr(), c.red, c.green, c.blue, alpha); }

  double text_width(const std::string& text, double size, bool bold = false) {
    font(size, bold);
    cairo_text_extents_t extents;
    cairo_text_extents(cr(), text.c_str(), &extents);
    return extents.x_advance;
  }

  // `anchor` 0: text begins at x; 0.5: centred; 1: ends at x. y is the baseline.
  void text(const std::string& text, double x, double y, double size, double anchor, bool bold = false) {
    const double width = text_width(text, size, bold);
    cairo_move_to(cr(), std::round(x - anchor * width), std::round(y));
    cairo_show_text(cr(), text.c_str());
  }

  void text_upwards(const std::string& label, double x, double y_centre, double size) {
    const double width = text_width(label, size);
    cairo_save(cr());
    cairo_translate(cr(), x, y_centre + width / 2);
    cairo_rotate(cr(), -1.5707963267948966);
    cairo_move_to(cr(), 0, 0);
    cairo_show_text(cr(), label.c_str());
    cairo_restore(cr());
  }

  // A line that covers whole pixels.
  void hairline(double x0, double y0, double x1, double y1) {
    cairo_set_line_width(cr(), 1);
    cairo_move_to(cr(), std::floor(x0) + 0.5, std::floor(y0) + 0.5);
    cairo_line_to(cr(), std::floor(x1) + 0.5, std::floor(y1) + 0.5);
    cairo_stroke(cr());
  }

  std::string png() const {
    std::string bytes;
    const auto append = [](void* to, const unsigned char* data, unsigned length) {
      static_cast<std::string*>(to)->append(reinterpret_cast<const char*>(data), length);
      return CAIRO_STATUS_SUCCESS;
    };
    cairo_surface_flush(surface_.get());
    const cairo_status_t status = cairo_surface_write_to_png_stream(surface_.get(), append, &bytes);
    if (status != CAIRO_STATUS_SUCCESS) throw MachineError("cannot encode a plot: {}", cairo_status_to_string(status));
    return bytes;
  }

 private:
  void font(double size, bool bold) {
    cairo_select_font_face(cr(), "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr(), size);
  }

  std::unique_ptr<cairo_surface_t, CairoDeleter> surface_;
  std::unique_ptr<cairo_t, CairoDeleter> context_;
};

double nice_spacing(double span, int target, bool integers_only) {
  const double rough = span / std::max(1, target);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double spacing = 10 * power;
  for (const double factor : {1.0, 2.0, 2.5, 5.0})
    if (factor * power >= rough * 0.999) {
      spacing = factor * power;
      break;
    }
  return integers_only ? std::max(1.0, spacing == 2.5 ? 5.0 : spacing) : spacing;
}

// Widens an empty or hair-thin range, so that one point or a constant stands in the middle.
void pad(double& low, double& high, double share, double smallest) {
  const double margin = std::max((high - low) * share, smallest);
  low -= margin;
  high += margin;
}

Frame frame_of(std::span<const LossPoint> points) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Frame frame{kInfinity, -kInfinity, kInfinity, -kInfinity, 0, kWidth - kRight, kTop, kHeight - kBottom};
  for (const auto& [step, value] : points) {
    frame.x_low = std::min(frame.x_low, step);
    frame.x_high = std::max(frame.x_high, step);
    if (!std::isfinite(value)) continue;
    frame.y_low = std::min(frame.y_low, value);
    frame.y_high = std::max(frame.y_high, value);
  }
  if (frame.x_low > frame.x_high) frame.x_low = 0, frame.x_high = 1;
  if (frame.y_low > frame.y_high) frame.y_low = 0, frame.y_high = 1;
  if (frame.x_low == frame.x_high)
    pad(frame.x_low, frame.x_high, 0, 1);
  else
    pad(frame.x_low, frame.x_high, 0.015, 0);
  const double size = std::max(std::abs(frame.y_low), std::abs(frame.y_high));
  pad(frame.y_low, frame.y_high, 0.06, std::max(1e-6 * size, frame.y_low == frame.y_high ? 0.05 * size + 1e-9 : 1e-12));
  return frame;
}

void draw_axes(Canvas& canvas, Frame& frame, const PlotText& text) {
  const auto y_ticks = nice_ticks(frame.y_low, frame.y_high, 7, false);
  const auto x_ticks = nice_ticks(frame.x_low, frame.x_high, 9, true);
  const auto spacing = [](const std::vector<double>& ticks) { return ticks.size() > 1 ? ticks[1] - ticks[0] : 0.0; };

  double widest = 0;
  for (const double tick : y_ticks)
    widest = std::max(widest, canvas.text_width(tick_label(tick, spacing(y_ticks)), kTickSize));
  frame.left = std::round(48 + widest);

  for (const double tick : y_ticks) {
    const double y = frame.y(tick);
    canvas.colour(kGrid);
    canvas.hairline(frame.left, y, frame.right, y);
    canvas.colour(kFaintInk);
    canvas.text(tick_label(tick, spacing(y_ticks)), frame.left - 9, y + 4.5, kTickSize, 1);
  }
  for (const double tick : x_ticks) {
    const double x = frame.x(tick);
    canvas.colour(kGrid);
    canvas.hairline(x, frame.top, x, frame.bottom);
    canvas.colour(kFaintInk);
    canvas.hairline(x, frame.bottom, x, frame.bottom + 4);
    canvas.text(tick_label(tick, spacing(x_ticks)), x, frame.bottom + 20, kTickSize, 0.5);
  }
  canvas.hairline(frame.left, frame.top, frame.left, frame.bottom);
  canvas.hairline(frame.left, frame.bottom, frame.right, frame.bottom);

  canvas.colour(kInk);
  canvas.text(text.x_label, (frame.left + frame.right) / 2, kHeight - 18, kLabelSize, 0.5);
  canvas.text_upwards(text.y_label, 26, (frame.top + frame.bottom) / 2, kLabelSize);
  std::string title = text.title;
  // A long path keeps its end, which tells runs apart. Cut between characters of UTF-8.
  while (title.size() > 8 && canvas.text_width(title, kTitleSize, true) > kWidth - 40) {
    std::size_t cut = title.starts_with("…") ? 4 : 1;
    while (cut < title.size() && (static_cast<unsigned char>(title[cut]) & 0xC0) == 0x80) ++cut;
    title = "…" + title.substr(cut);
  }
  canvas.text(title, kWidth / 2.0, 34, kTitleSize, 0.5, true);
}

// Many points fall on one column of pixels: of each column the first, the lowest, the highest and the last are
// enough to draw the same picture, so that no spike is lost and 100,000 points take milliseconds.
std::vector<LossPoint> thinned(std::span<const LossPoint> points, const Frame& frame) {
  std::vector<LossPoint> kept;
  if (points.size() <= 4 * static_cast<std::size_t>(kWidth)) return {points.begin(), points.end()};
  for (std::size_t begin = 0; begin < points.size();) {
    const double column = std::floor(frame.x(points[begin].step));
    std::size_t end = begin;
    std::size_t low = begin;
    std::size_t high = begin;
    for (; end < points.size() && std::floor(frame.x(points[end].step)) == column; ++end) {
      if (!std::isfinite(points[end].value)) continue;
      if (!(points[low].value <= points[end].value)) low = end;
      if (!(points[high].value >= points[end].value)) high = end;
    }
    std::vector<std::size_t> chosen{begin, low, high, end - 1};
    std::sort(chosen.begin(), chosen.end());
    chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
    for (const std::size_t i : chosen) kept.push_back(points[i]);
    begin = end;
  }
  return kept;
}

void draw_curve(
    Canvas& canvas, const Frame& frame, std::span<const LossPoint> points, double width, double alpha, bool markers) {
  cairo_t* const cr = canvas.cr();
  canvas.colour(kCurve, alpha);
  cairo_set_line_width(cr, width);
  bool pen_down = false;
  const auto shown = thinned(points, frame);
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const auto& [step, value] = shown[i];
    if (!std::isfinite(value)) {
      pen_down = false;
      continue;
    }
    if (pen_down)
      cairo_line_to(cr, frame.x(step), frame.y(value));
    else
      cairo_move_to(cr, frame.x(step), frame.y(value));
    // A point between two gaps has no line: a dot keeps it visible.
    const bool alone = !pen_down && (i + 1 == shown.size() || !std::isfinite(shown[i + 1].value));
    if (alone) cairo_line_to(cr, frame.x(step), frame.y(value));
    pen_down = true;
  }
  cairo_stroke(cr);
  if (!markers) return;
  for (const auto& [step, value] : shown) {
    if (!std::isfinite(value)) continue;
    cairo_new_sub_path(cr);
    cairo_arc(cr, frame.x(step), frame.y(value), width + 1.6, 0, 6.283185307179586);
  }
  cairo_fill(cr);
}

void draw_legend(Canvas& canvas, const Frame& frame) {
  cairo_t* const cr = canvas.cr();
  constexpr double kBoxWidth = 128;
  constexpr double kBoxHeight = 56;
  const double left = frame.right - kBoxWidth - 12;
  const double top = frame.top + 12;
  cairo_rectangle(cr, left + 0.5, top + 0.5, kBoxWidth, kBoxHeight);
  cairo_set_source_rgba(cr, 1, 1, 1, 0.88);
  cairo_fill_preserve(cr);
  canvas.colour({0.80, 0.82, 0.85});
  cairo_set_line_width(cr, 1);
  cairo_stroke(cr);
  const auto row = [&](double y, const char* name, double width, double alpha) {
    canvas.colour(kCurve, alpha);
    cairo_set_line_width(cr, width);
    cairo_move_to(cr, left + 12, y);
    cairo_line_to(cr, left + 40, y);
    cairo_stroke(cr);
    canvas.colour(kInk);
    canvas.text(name, left + 50, y + 4.5, kTickSize, 0);
  };
  row(top + 18, "original", 1.6, kOriginalAlpha);
  row(top + 39, "smoothed", 2.4, 1);
}

}  // namespace

std::vector<double> smooth_losses(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  const double weight = 1.8 * (1 / (1 + std::exp(-0.05 * n)) - 0.5);
  std::vector<double> smoothed;
  smoothed.reserve(values.size());
  double last = std::numeric_limits<double>::quiet_NaN();
  for (const double value : values) {
    if (!std::isfinite(value)) {
      smoothed.push_back(std::numeric_limits<double>::quiet_NaN());
      continue;
    }
    last = std::isnan(last) ? value : last * weight + (1 - weight) * value;
    smoothed.push_back(last);
  }
  return smoothed;
}

std::vector<double> nice_ticks(double low, double high, int target, bool integers_only) {
  const double spacing = nice_spacing(high - low, target, integers_only);
  std::vector<double> ticks;
  for (double i = std::ceil(low / spacing - 1e-9); i * spacing <= high + 1e-9 * spacing; ++i) {
    const double tick = i * spacing;
    if (integers_only && tick < 0) continue;
    ticks.push_back(tick == 0 ? 0.0 : tick);  // no "-0"
  }
  return ticks;
}

std::string tick_label(double value, double spacing) {
  const double size = std::max(std::abs(value), spacing);
  if (size >= 1e7 || (spacing > 0 && spacing < 1e-5)) return fmt::format("{:.6g}", value);
  int decimals = 0;
  for (double scaled = spacing; spacing > 0 && decimals < 8 && std::abs(scaled - std::round(scaled)) > 1e-6 * scaled;
       ++decimals)
    scaled *= 10;
  std::string label = fmt::format("{:.{}f}", value, decimals);
  const std::size_t point = std::min(label.find('.'), label.size());
  const std::size_t first = label.starts_with('-') ? 1 : 0;
  if (point - first > 4)
    for (std::size_t at = point; at > first + 3;) label.insert(at -= 3, 1, ',');
  return label;
}

void plot_losses(const fs::path& png, const PlotText& text, std::span<const LossPoint> points) {
  std::vector<double> values;
  values.reserve(points.size());
  for (const auto& point : points) values.push_back(point.value);
  const auto course = smooth_losses(values);
  std::vector<LossPoint> smoothed(points.begin(), points.end());
  for (std::size_t i = 0; i < smoothed.size(); ++i) smoothed[i].value = course[i];

  Canvas canvas;
  Frame frame = frame_of(points);
  draw_axes(canvas, frame, text);
  cairo_save(canvas.cr());
  cairo_rectangle(canvas.cr(), frame.left, frame.top - 4, frame.right - frame.left + 4, frame.bottom - frame.top + 4);
  cairo_clip(canvas.cr());
  const bool markers = points.size() <= kMarkersUpTo;
  draw_curve(canvas, frame, points, 1.6, kOriginalAlpha, markers);
  draw_curve(canvas, frame, smoothed, 2.4, 1, points.size() == 1);
  cairo_restore(canvas.cr());
  draw_legend(canvas, frame);
  write_file_atomically(png, canvas.png());
}

}  // namespace baichuan
