#include "train/loss_scale.h"

#include <algorithm>

#include "core/error.h"

namespace baichuan {

LossScale::LossScale(const LossScaleOptions& options) : options_(options) {
  state_.scale = options.initial_scale;
  state_.hysteresis_left = options.hysteresis;
}

void LossScale::update(bool overflow) {
  if (options_.is_static) return;
  if (options_.deepspeed_rule)
    update_as_deepspeed(overflow);
  else
    update_as_torch(overflow);
}

void LossScale::update_as_torch(bool overflow) {
  if (overflow) {
    state_.scale *= 0.5;
    state_.good_steps = 0;
    // torch would go on below 1 for ever; gradients that overflow there are broken, not badly scaled.
    if (state_.scale < 1.0 / 65536)
      throw TrainingError(
          "expected float16 gradients to be finite under some loss scale; they still overflow at {}; train with --bf16 "
          "or a lower --learning_rate",
          state_.scale);
  } else if (++state_.good_steps == options_.window) {
    state_.scale *= 2;
    state_.good_steps = 0;
  }
}

// The order of the checks is DeepSpeed's (runtime/fp16/loss_scaler.py, DynamicLossScaler.update_scale).
void LossScale::update_as_deepspeed(bool overflow) {
  if (overflow) {
    if (options_.hysteresis == 1 || state_.hysteresis_left == 1)
      fall_as_deepspeed();
    else
      --state_.hysteresis_left;
    state_.last_overflow = state_.iteration;
  } else {
    if (options_.consecutive_hysteresis) state_.hysteresis_left = options_.hysteresis;
    const std::int64_t clean = state_.iteration - state_.last_overflow - 1;
    if (clean > 0 && clean % options_.window == 0) {
      state_.hysteresis_left = options_.hysteresis;
      state_.scale *= 2;
    }
  }
  ++state_.iteration;
}

void LossScale::fall_as_deepspeed() {
  if (state_.scale == options_.min_scale)
    throw TrainingError(
        "expected float16 gradients to be finite under some loss scale; they still overflow at the smallest one that "
        "the DeepSpeed file allows (fp16.min_loss_scale {}, step {}), where DeepSpeed stops too; train with --bf16 or "
        "a lower --learning_rate",
        options_.min_scale, state_.iteration + 1);
  state_.scale = std::max(state_.scale / 2, options_.min_scale);
}

}  // namespace baichuan
