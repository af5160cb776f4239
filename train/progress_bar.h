// The line that tells how far a run is. On a terminal it is redrawn in place, at most ten times a second; elsewhere
// only log() writes, one plain line each time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace baichuan {

struct Progress {
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::optional<double> loss;
  std::optional<double> tokens_per_second;
  std::optional<double> remaining_seconds;
  std::string note{};  // in front of all, e.g. "eval"
};

// Columns that text takes on a terminal: 2 for East Asian wide characters, 0 for combining ones.
int display_width(std::string_view utf8);
// The longest beginning of `utf8` that takes at most `columns`.
std::string_view cut_to_width(std::string_view utf8, int columns);

// At most `columns` wide: bar and figures, then figures alone, then what fits.
std::string progress_line(const Progress& progress, int columns);
// "step 120/1000 (12.0 %), loss 2.3450, 1234 tokens/s, 0:12:34 left"
std::string plain_progress_line(const Progress& progress);

// Columns of the terminal behind a file descriptor; 80 when it does not say.
int terminal_columns(int fd);

class ProgressBar {
 public:
  using Sink = std::function<void(std::string_view)>;  // where the characters go: given by app/
  struct Options {
    bool on_terminal = false;
    std::function<int()> columns{};  // asked at every drawing, for windows change
    std::function<double()> now{};   // seconds; the steady clock unless given
  };

  ProgressBar(Sink sink, Options options);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // After a step.
  void update(const Progress& progress);
  // At a logging step.
  void log(const Progress& progress);
  // Takes the line away, for messages that follow; the next update() draws it again.
  void clear();
  // Leaves the last state on the screen and ends the line.
  void finish();

 private:
  void draw();

  Sink sink_;
  Options options_;
  Progress progress_;
  bool visible_ = false;
  std::optional<double> drawn_at_;
};

}  // namespace baichuan
