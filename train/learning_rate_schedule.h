// The learning rate as a function of the updates done so far: the schedules that the Hugging Face trainer names, and
// those of DeepSpeed files, computed in double precision in the same order of operations, so that the rates agree to
// the last bit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/json.h"

namespace baichuan {

enum class ScheduleType {
  kLinear,
  kCosine,
  kCosineWithRestarts,
  kPolynomial,
  kConstant,
  kConstantWithWarmup,
  kInverseSqrt,
  kReduceOnPlateau,
  kDeepSpeedWarmup,        // WarmupLR
  kDeepSpeedWarmupDecay,   // WarmupDecayLR
  kDeepSpeedWarmupCosine,  // WarmupCosineLR
};

// "linear|cosine|…", for the option table; DeepSpeed's come from its files alone.
inline constexpr std::string_view kScheduleChoices =
    "linear|cosine|cosine_with_restarts|polynomial|constant|constant_with_warmup|inverse_sqrt|reduce_lr_on_plateau";

// Throws UsageError for a name that is not one of kScheduleChoices.
ScheduleType parse_schedule(std::string_view name);

// What DeepSpeed's three schedules have beyond a peak, a warm-up of at least 2 steps and a total. They count from -1:
// the first update is made at the lowest rate, and so is the second, as the warm-up is 0 at iteration 0.
struct DeepSpeedWarmup {
  bool linear = false;      // false: by the logarithm
  double min_rate = 0;      // WarmupLR, WarmupDecayLR: where the warm-up starts
  double min_ratio = 0;     // WarmupCosineLR: the same, as a share of the peak
  double end_ratio = 1e-4;  // WarmupCosineLR: where the cosine ends
};

struct ScheduleOptions {
  ScheduleType type = ScheduleType::kLinear;
  double learning_rate = 5e-5;    // the peak
  std::int64_t total_steps = 0;   // updates of the whole run
  std::int64_t warmup_steps = 0;  // updates; wins over warmup_ratio when positive
  double warmup_ratio = 0;        // of total_steps, rounded up
  DeepSpeedWarmup deepspeed{};
};

// Updates of warm-up that the two options stand for.
std::int64_t warmup_updates(const ScheduleOptions& options);

class LearningRateSchedule {
 public:
  // Throws UsageError when the options contradict each other (inverse_sqrt without warm-up, polynomial from a rate
  // that is not above its final 1e-7).
  explicit LearningRateSchedule(const ScheduleOptions& options);

  // The rate of the update that follows `updates_done` updates. An update that is skipped (fp16 overflow) does not
  // count.
  double rate(std::int64_t updates_done) const;

  // What an evaluation measured, the smaller the better: reduce_lr_on_plateau alone takes notice.
  void observe(double metric);

  // What rate() depends on beyond the options; empty but for reduce_lr_on_plateau.
  OrderedJson state() const;
  void restore(const Json& state);

 private:
  double warmup_factor(std::int64_t updates_done) const;
  double decay_factor(std::int64_t updates_done) const;
  double deepspeed_rate(std::int64_t iteration) const;
  double deepspeed_cosine_factor(std::int64_t iteration) const;

  ScheduleOptions options_;
  std::int64_t warmup_;
  // reduce_lr_on_plateau
  double plateau_rate_;
  std::optional<double> best_metric_;
  std::int64_t bad_evaluations_ = 0;
};

}  // namespace baichuan
