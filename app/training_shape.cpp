#include "app/training_shape.h"

#include "lora/lora_options.h"

namespace baichuan {

namespace {

std::int64_t dtype_bytes(const std::string& dtype, std::int64_t otherwise) {
  if (dtype == "auto") return otherwise;
  return dtype == "fp32" ? 4 : 2;
}

}  // namespace

Sharding sharding_of(const TrainCommandOptions& o,
                     const std::optional<DeepSpeedConfig>& deepspeed,
                     std::int64_t ranks) {
  if (ranks == 1 && !o.launcher.deterministic_reduce) return Sharding::kPlain;
  const std::int64_t usual = o.finetuning.finetuning_type == "full" ? 2 : 0;
  return static_cast<Sharding>(o.launcher.zero_stage.value_or(deepspeed ? deepspeed->stage : usual));
}

RunShape training_shape(const TrainCommandOptions& o,
                        const std::optional<DeepSpeedConfig>& deepspeed,
                        const BaichuanConfig& model,
                        std::int64_t stored_bytes,
                        std::int64_t ranks) {
  RunShape shape;
  shape.model = model;
  shape.full = o.finetuning.finetuning_type == "full";
  shape.lora_rank = o.lora.lora_rank;
  shape.lora_targets = parse_lora_target(o.lora.lora_target);
  const bool mixed = o.optimization.fp16 || o.optimization.bf16;
  shape.compute_bytes = mixed ? 2 : 4;
  shape.frozen_bytes = dtype_bytes(o.model.dtype, mixed ? 2 : stored_bytes);
  shape.stored_bytes = dtype_bytes(o.model.dtype, stored_bytes);
  shape.official_alibi = o.model.alibi_mode == "official";
  shape.sharding = sharding_of(o, deepspeed, ranks);
  if (deepspeed) shape.wire_bytes = deepspeed->wire_bytes();
  shape.deterministic_reduce = o.launcher.deterministic_reduce;
  shape.ranks = ranks;
  shape.batch = o.optimization.per_device_train_batch_size;
  const bool evaluates = o.finetuning.do_eval || o.logging.evaluation_strategy != "no";
  shape.eval_batch = evaluates ? o.optimization.per_device_eval_batch_size : 0;
  shape.accumulation = o.optimization.gradient_accumulation_steps;
  return shape;
}

}  // namespace baichuan
