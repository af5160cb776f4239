// What a DeepSpeed file asks of a run. "auto" is filled from the flags; whatever disagrees with the flags is reported
// in one error, as the Python stack did. Which key does what stands in deepspeed_keys.cpp and docs/DEEPSPEED.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "train/deepspeed_json.h"
#include "train/deepspeed_optimization.h"
#include "train/loss_scale.h"
#include "train/training_options.h"

namespace baichuan {

enum class DeepSpeedDtype { kFloat16, kBfloat16, kFloat32 };

// Batch size, accumulation, precision and AdamW's settings are not here: they are the flags', or the file is refused.
struct DeepSpeedConfig {
  std::string origin;      // what messages call the file
  std::int64_t stage = 0;  // of ZeRO: 0, 1 or 2
  // Unset: the file does not say; effective_max_grad_norm() then decides. 0: no clipping.
  std::optional<double> gradient_clipping;
  LossScaleOptions loss_scale;  // DeepSpeed's rule; used with --fp16
  // Upper bounds on the elements that are reduced or gathered at a time. Units of the model travel, and where one is
  // larger a warning says so. Unset: "auto".
  std::optional<std::int64_t> reduce_bucket_elements = 500'000'000;
  std::int64_t allgather_bucket_elements = 500'000'000;  // even
  std::optional<DeepSpeedDtype> communication_dtype;     // what gradients travel in; unset: the compute type
  // What the file asks for. A warning has been given for 16 bits: gradients are added up in float32 all the same.
  std::optional<DeepSpeedDtype> accumulation_dtype;
  bool drop_last = false;               // leave out an epoch's incomplete last batch
  bool node_local_checkpoints = false;  // every node writes its ranks' part to a disk of its own
  std::optional<DeepSpeedOptimizer> optimizer;
  std::optional<DeepSpeedScheduler> scheduler;  // decides the rates in place of --lr_scheduler_type

  // Of an element of the gradients that travel; unset: of the compute type.
  std::optional<std::int64_t> wire_bytes() const;

  // The schedule of a run of `total_steps` updates; empty without a scheduler. Throws UsageError where the file's
  // total_num_steps or warmup_num_steps are not the run's.
  std::optional<ScheduleOptions> schedule(const OptimizationOptions& flags, std::int64_t total_steps) const;
};

// `argument` is what --deepspeed was given: a file, or its text in base64. Throws DataError for what cannot be read and
// UsageError for disagreements with `flags` and for what is wrong or not built; warns about keys without effect.
DeepSpeedConfig load_deepspeed_config(const std::string& argument,
                                      const OptimizationOptions& flags,
                                      std::int64_t num_processes);

// The same of a text that has been read already.
DeepSpeedConfig parse_deepspeed_config(const DeepSpeedText& source,
                                       const OptimizationOptions& flags,
                                       std::int64_t num_processes);

// The norm at which a run under this file clips, which is logged; 0: never. Without gradient_clipping in the file
// --max_grad_norm holds, but under --compat 2023 only where it was given as a flag: that stack did not clip then.
double effective_max_grad_norm(const DeepSpeedConfig& config,
                               const OptimizationOptions& flags,
                               bool compat_2023,
                               bool max_grad_norm_given);

}  // namespace baichuan
