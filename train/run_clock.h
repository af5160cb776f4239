// Time that a run has taken and will still take. The estimate comes from the last steps alone, so that the slow
// first ones do not spoil it; evaluations and checkpoints are left out of it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

namespace baichuan {

class RunClock {
 public:
  using Now = std::function<double()>;  // seconds of a clock that never goes back

  // elapsed_before: what the run had taken before it was stopped and resumed.
  explicit RunClock(std::int64_t total_steps, double elapsed_before = 0, Now now = {});

  // One more optimiser step is done, after `tokens` tokens.
  void step_done(std::int64_t step, std::int64_t tokens);
  // What follows, up to resume_steps(), is no part of a step.
  void pause_steps();
  void resume_steps();

  double elapsed_seconds() const;
  // Empty until a step has been timed.
  std::optional<double> remaining_seconds() const;
  std::optional<double> tokens_per_second() const;

 private:
  struct Step {
    double seconds;
    std::int64_t tokens;
  };

  Now now_;
  std::int64_t total_steps_;
  double started_;
  double elapsed_before_;
  double step_began_;
  std::optional<double> paused_at_;
  std::int64_t step_ = 0;
  std::int64_t steps_timed_ = 0;
  std::deque<Step> recent_;
};

// "H:MM:SS", hours as many as there are.
std::string format_duration(double seconds);

}  // namespace baichuan
