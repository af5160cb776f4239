#include "train/run_clock.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace baichuan {

namespace {

constexpr std::size_t kRecentSteps = 50;

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

RunClock::RunClock(std::int64_t total_steps, double elapsed_before, Now now)
    : now_(now ? std::move(now) : Now(steady_seconds)),
      total_steps_(total_steps),
      started_(now_()),
      elapsed_before_(elapsed_before),
      step_began_(started_) {}

void RunClock::step_done(std::int64_t step, std::int64_t tokens) {
  const double now = now_();
  recent_.push_back({now - step_began_, tokens});
  // The first step allocates and warms up: it is left out as soon as there is another.
  if (recent_.size() > kRecentSteps || ++steps_timed_ == 2) recent_.pop_front();
  step_ = step;
  step_began_ = now;
}

void RunClock::pause_steps() {
  if (!paused_at_) paused_at_ = now_();
}

void RunClock::resume_steps() {
  if (!paused_at_) return;
  step_began_ += now_() - *paused_at_;
  paused_at_.reset();
}

double RunClock::elapsed_seconds() const {
  return elapsed_before_ + now_() - started_;
}

std::optional<double> RunClock::remaining_seconds() const {
  if (recent_.empty()) return {};
  double seconds = 0;
  for (const Step& step : recent_) seconds += step.seconds;
  const auto steps_left = static_cast<double>(std::max<std::int64_t>(0, total_steps_ - step_));
  return seconds / static_cast<double>(recent_.size()) * steps_left;
}

std::optional<double> RunClock::tokens_per_second() const {
  double seconds = 0;
  double tokens = 0;
  for (const Step& step : recent_) {
    seconds += step.seconds;
    tokens += static_cast<double>(step.tokens);
  }
  if (seconds <= 0) return {};
  return tokens / seconds;
}

std::string format_duration(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::max(0.0, std::isfinite(seconds) ? seconds : 0.0));
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace baichuan
