#include "train/progress_bar.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <sys/ioctl.h>

#include "train/run_clock.h"

namespace baichuan {

namespace {

constexpr double kSecondsBetweenDrawings = 0.1;
constexpr int kWidestBar = 40;
constexpr int kNarrowestBar = 8;

struct CodePointRange {
  char32_t first, last;
};
// East Asian Width W and F (Unicode 15), neighbouring blocks joined.
constexpr std::array<CodePointRange, 12> kWide{{{0x1100, 0x115F},
                                                {0x2E80, 0x303E},
                                                {0x3041, 0x33FF},
                                                {0x3400, 0x4DBF},
                                                {0x4E00, 0x9FFF},
                                                {0xA000, 0xA4CF},
                                                {0xAC00, 0xD7A3},
                                                {0xF900, 0xFAFF},
                                                {0xFE30, 0xFE6F},
                                                {0xFF00, 0xFF60},
                                                {0xFFE0, 0xFFE6},
                                                {0x1F300, 0x3FFFD}}};
constexpr std::array<CodePointRange, 5> kNoWidth{
    {{0x0300, 0x036F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}}};

template <std::size_t N>
bool contains(const std::array<CodePointRange, N>& ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(), [c](const auto& r) { return c >= r.first && c <= r.last; });
}

struct Character {
  std::size_t bytes;
  int columns;
};

// The first character of non-empty text; a byte that is not UTF-8 counts as one column.
Character first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t bytes = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  if (bytes == 1 || bytes > text.size()) return {1, lead < 0x20 || lead == 0x7F ? 0 : 1};
  char32_t code = lead & (0xFF >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xC0) != 0x80) return {1, 1};
    code = (code << 6) | (next & 0x3F);
  }
  return {bytes, contains(kNoWidth, code) ? 0 : contains(kWide, code) ? 2 : 1};
}

std::string figures(const Progress& progress) {
  std::string text = fmt::format("{}/{}", progress.step, progress.total_steps);
  if (progress.loss) text += fmt::format("  loss {:.4f}", *progress.loss);
  if (progress.tokens_per_second) text += fmt::format("  {:.0f} tokens/s", *progress.tokens_per_second);
  if (progress.remaining_seconds) text += fmt::format("  {} left", format_duration(*progress.remaining_seconds));
  return text;
}

double share_done(const Progress& progress) {
  if (progress.total_steps <= 0) return 0;
  return std::clamp(static_cast<double>(progress.step) / static_cast<double>(progress.total_steps), 0.0, 1.0);
}

// `width` columns, filled by eighths of a column.
std::string bar(double share, int width) {
  constexpr std::array<const char*, 8> kEighths{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto eighths = static_cast<int>(std::floor(share * width * 8));
  std::string drawn;
  for (int i = 0; i < eighths / 8; ++i) drawn += "█";
  drawn += kEighths[static_cast<std::size_t>(eighths % 8)];
  const int used = eighths / 8 + (eighths % 8 != 0 ? 1 : 0);
  return drawn + std::string(static_cast<std::size_t>(width - used), ' ');
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int display_width(std::string_view utf8) {
  int columns = 0;
  while (!utf8.empty()) {
    const Character next = first_character(utf8);
    columns += next.columns;
    utf8.remove_prefix(next.bytes);
  }
  return columns;
}

std::string_view cut_to_width(std::string_view utf8, int columns) {
  std::size_t bytes = 0;
  while (bytes < utf8.size()) {
    const Character next = first_character(utf8.substr(bytes));
    if (next.columns > columns) break;
    columns -= next.columns;
    bytes += next.bytes;
  }
  return utf8.substr(0, bytes);
}

std::string progress_line(const Progress& progress, int columns) {
  const double share = share_done(progress);
  std::string head = progress.note.empty() ? "" : progress.note + " ";
  head += fmt::format("{:3.0f}%", std::floor(100 * share));
  const std::string tail = figures(progress);
  const int room = columns - display_width(head) - display_width(tail) - 4;  // " |" and "| "
  if (room >= kNarrowestBar) return fmt::format("{} |{}| {}", head, bar(share, std::min(room, kWidestBar)), tail);
  return std::string(cut_to_width(fmt::format("{} {}", head, tail), std::max(0, columns)));
}

std::string plain_progress_line(const Progress& progress) {
  std::string line = progress.note.empty() ? "" : progress.note + ": ";
  line += fmt::format("step {}/{} ({:.1f} %)", progress.step, progress.total_steps, 100 * share_done(progress));
  if (progress.loss) line += fmt::format(", loss {:.4f}", *progress.loss);
  if (progress.tokens_per_second) line += fmt::format(", {:.0f} tokens/s", *progress.tokens_per_second);
  if (progress.remaining_seconds) line += fmt::format(", {} left", format_duration(*progress.remaining_seconds));
  return line;
}

int terminal_columns(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

ProgressBar::ProgressBar(Sink sink, Options options) : sink_(std::move(sink)), options_(std::move(options)) {
  if (!options_.now) options_.now = steady_seconds;
  if (!options_.columns) options_.columns = [] { return 80; };
}

ProgressBar::~ProgressBar() {
  try {
    finish();
  } catch (...) {  // a sink that fails while another error is on its way has nothing to add
  }
}

void ProgressBar::update(const Progress& progress) {
  if (!options_.on_terminal) return;
  progress_ = progress;
  if (drawn_at_ && options_.now() - *drawn_at_ < kSecondsBetweenDrawings) return;
  draw();
}

void ProgressBar::log(const Progress& progress) {
  if (options_.on_terminal)
    update(progress);
  else
    sink_(plain_progress_line(progress) + "\n");
}

void ProgressBar::draw() {
  drawn_at_ = options_.now();
  visible_ = true;
  // One column stays free: a character in the last one makes some terminals begin a new line.
  sink_(fmt::format("\r{}\x1b[K", progress_line(progress_, options_.columns() - 1)));
}

void ProgressBar::clear() {
  if (!visible_) return;
  sink_("\r\x1b[K");
  visible_ = false;
}

void ProgressBar::finish() {
  if (!drawn_at_) return;
  draw();
  sink_("\n");
  visible_ = false;
  drawn_at_.reset();
}

}  // namespace baichuan
