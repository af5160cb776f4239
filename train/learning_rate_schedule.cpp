#include "train/learning_rate_schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "core/error.h"

namespace baichuan {

namespace {

constexpr std::array<std::pair<std::string_view, ScheduleType>, 8> kNames{{
    {"linear", ScheduleType::kLinear},
    {"cosine", ScheduleType::kCosine},
    {"cosine_with_restarts", ScheduleType::kCosineWithRestarts},
    {"polynomial", ScheduleType::kPolynomial},
    {"constant", ScheduleType::kConstant},
    {"constant_with_warmup", ScheduleType::kConstantWithWarmup},
    {"inverse_sqrt", ScheduleType::kInverseSqrt},
    {"reduce_lr_on_plateau", ScheduleType::kReduceOnPlateau},
}};

constexpr double kPolynomialEnd = 1e-7;

// The constants of torch.optim.lr_scheduler.ReduceLROnPlateau.
constexpr double kPlateauFactor = 0.1;
constexpr std::int64_t kPlateauPatience = 10;
constexpr double kPlateauThreshold = 1e-4;  // relative
constexpr double kPlateauSmallestChange = 1e-8;

double ratio(std::int64_t part, std::int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<std::int64_t>(1, whole));
}

bool is_deepspeed(ScheduleType type) {
  return type == ScheduleType::kDeepSpeedWarmup || type == ScheduleType::kDeepSpeedWarmupDecay ||
         type == ScheduleType::kDeepSpeedWarmupCosine;
}

}  // namespace

ScheduleType parse_schedule(std::string_view name) {
  for (const auto& [known, type] : kNames)
    if (name == known) return type;
  throw UsageError("--lr_scheduler_type must be one of {}; found '{}'", kScheduleChoices, name);
}

std::int64_t warmup_updates(const ScheduleOptions& options) {
  if (options.warmup_steps > 0) return options.warmup_steps;
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(options.total_steps) * options.warmup_ratio));
}

LearningRateSchedule::LearningRateSchedule(const ScheduleOptions& options)
    : options_(options), warmup_(warmup_updates(options)), plateau_rate_(options.learning_rate) {
  if (is_deepspeed(options_.type)) warmup_ = std::max<std::int64_t>(2, warmup_);
  if (options_.type == ScheduleType::kInverseSqrt && warmup_ == 0)
    throw UsageError(
        "--lr_scheduler_type inverse_sqrt needs a warm-up, whose length is its time scale; found "
        "--warmup_steps 0 and --warmup_ratio 0; give one of them");
  if (options_.type == ScheduleType::kPolynomial && !(options_.learning_rate > kPolynomialEnd))
    throw UsageError(
        "--lr_scheduler_type polynomial falls to {}: --learning_rate must be above it; found {}; give a "
        "larger rate or another schedule",
        kPolynomialEnd, options_.learning_rate);
}

double LearningRateSchedule::rate(std::int64_t updates_done) const {
  if (options_.type == ScheduleType::kReduceOnPlateau) return plateau_rate_;
  if (options_.type == ScheduleType::kConstant) return options_.learning_rate;
  if (is_deepspeed(options_.type)) return deepspeed_rate(updates_done - 1);
  const double factor = updates_done < warmup_ ? warmup_factor(updates_done) : decay_factor(updates_done);
  return options_.learning_rate * factor;
}

double LearningRateSchedule::warmup_factor(std::int64_t updates_done) const {
  return ratio(updates_done, warmup_);
}

// The order of operations is part of the law: another one rounds differently.
double LearningRateSchedule::decay_factor(std::int64_t updates_done) const {
  const std::int64_t total = options_.total_steps;
  const double progress = ratio(updates_done - warmup_, total - warmup_);
  switch (options_.type) {
    case ScheduleType::kLinear:
      return std::max(0.0, ratio(total - updates_done, total - warmup_));
    case ScheduleType::kCosine: {
      constexpr double kCycles = 0.5;
      return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * kCycles * 2.0 * progress)));
    }
    case ScheduleType::kCosineWithRestarts: {
      constexpr double kCycles = 1.0;
      if (progress >= 1.0) return 0.0;
      return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * std::fmod(kCycles * progress, 1.0))));
    }
    case ScheduleType::kPolynomial: {  // of power 1
      if (updates_done > total) return kPolynomialEnd / options_.learning_rate;
      const double range = options_.learning_rate - kPolynomialEnd;
      return (range * (1.0 - progress) + kPolynomialEnd) / options_.learning_rate;
    }
    case ScheduleType::kInverseSqrt:
      return 1.0 / std::sqrt(ratio(updates_done, warmup_));
    case ScheduleType::kConstant:
    case ScheduleType::kConstantWithWarmup:
    case ScheduleType::kReduceOnPlateau:
    case ScheduleType::kDeepSpeedWarmup:
    case ScheduleType::kDeepSpeedWarmupDecay:
    case ScheduleType::kDeepSpeedWarmupCosine:
      break;
  }
  return 1.0;
}

// deepspeed/runtime/lr_schedules.py
double LearningRateSchedule::deepspeed_rate(std::int64_t iteration) const {
  const double peak = options_.learning_rate;
  const double lowest = options_.deepspeed.min_rate;
  const bool cosine = options_.type == ScheduleType::kDeepSpeedWarmupCosine;
  if (iteration < 0) return cosine ? 0.0 : lowest;
  double gamma = 1.0;
  if (iteration < warmup_) {
    const auto done = static_cast<double>(iteration);
    const auto whole = static_cast<double>(warmup_);
    gamma = options_.deepspeed.linear ? done / whole : 1.0 / std::log(whole) * std::log(done + 1);
    if (cosine) gamma = options_.deepspeed.min_ratio + gamma * (1.0 - options_.deepspeed.min_ratio);
  } else if (cosine) {
    gamma = deepspeed_cosine_factor(iteration);
  } else if (options_.type == ScheduleType::kDeepSpeedWarmupDecay) {
    gamma = std::max(0.0, ratio(options_.total_steps - iteration, options_.total_steps - warmup_));
  }
  return cosine ? peak * gamma : lowest + (peak - lowest) * gamma;
}

double LearningRateSchedule::deepspeed_cosine_factor(std::int64_t iteration) const {
  const double progress = std::min(1.0, ratio(iteration - warmup_ + 1, options_.total_steps - warmup_));
  const double wave = (1 + std::cos(std::numbers::pi * progress)) / 2;
  return std::max(0.0, options_.deepspeed.end_ratio + (1.0 - options_.deepspeed.end_ratio) * wave);
}

void LearningRateSchedule::observe(double metric) {
  if (options_.type != ScheduleType::kReduceOnPlateau) return;
  if (!best_metric_ || metric < *best_metric_ * (1.0 - kPlateauThreshold)) {
    best_metric_ = metric;
    bad_evaluations_ = 0;
    return;
  }
  if (++bad_evaluations_ <= kPlateauPatience) return;
  const double reduced = plateau_rate_ * kPlateauFactor;
  if (plateau_rate_ - reduced > kPlateauSmallestChange) plateau_rate_ = reduced;
  bad_evaluations_ = 0;
}

OrderedJson LearningRateSchedule::state() const {
  OrderedJson state = OrderedJson::object();
  if (options_.type != ScheduleType::kReduceOnPlateau) return state;
  state["learning_rate"] = plateau_rate_;
  if (best_metric_) state["best_metric"] = *best_metric_;
  state["bad_evaluations"] = bad_evaluations_;
  return state;
}

void LearningRateSchedule::restore(const Json& state) {
  if (options_.type != ScheduleType::kReduceOnPlateau || !state.contains("learning_rate")) return;
  plateau_rate_ = state.at("learning_rate").get<double>();
  best_metric_.reset();
  if (state.contains("best_metric")) best_metric_ = state.at("best_metric").get<double>();
  bad_evaluations_ = state.at("bad_evaluations").get<std::int64_t>();
}

}  // namespace baichuan
