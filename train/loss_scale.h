// Dynamic loss scaling for float16: PyTorch's rule (GradScaler), and DeepSpeed's where a DeepSpeed file asks for it.
//
// A step divides its gradients by the scale() that it multiplied its loss by, and calls update() afterwards. (DeepSpeed
// updates first and divides by what it then finds, so that gradients are halved in a step in which the scale grows.)
#pragma once

#include <cstdint>

namespace baichuan {

struct LossScaleOptions {
  double initial_scale = 65536;
  std::int64_t window = 2000;  // good steps before the scale doubles
  double min_scale = 1;
  std::int64_t hysteresis = 1;  // overflows up to the one that halves the scale (DeepSpeed)
  bool is_static = false;       // DeepSpeed's loss_scale > 0
  bool deepspeed_rule = false;
  bool consecutive_hysteresis = false;  // every good step refills the hysteresis, not only a growth (DeepSpeed)
};

class LossScale {
 public:
  explicit LossScale(const LossScaleOptions& options);

  double scale() const { return state_.scale; }
  // After each step. Throws TrainingError when the scale cannot fall any further.
  void update(bool overflow);

  struct State {
    double scale = 1;
    std::int64_t good_steps = 0;
    std::int64_t hysteresis_left = 1;
    std::int64_t iteration = 0;
    std::int64_t last_overflow = -1;
  };
  const State& state() const { return state_; }
  void restore(const State& state) { state_ = state; }

 private:
  void update_as_torch(bool overflow);
  void update_as_deepspeed(bool overflow);
  void fall_as_deepspeed();

  LossScaleOptions options_;
  State state_;
};

}  // namespace baichuan
