#include "train/deepspeed_keys.h"

#include <algorithm>
#include <array>

namespace baichuan {

namespace {

using enum DeepSpeedAction;
using enum DeepSpeedType;
using On = DeepSpeedOn;

constexpr auto kTop = std::to_array<DeepSpeedKey>({
    // The batch.
    {"train_batch_size", kInteger, kHonoured, {}, "null", "must be micro-batch x accumulation x ranks"},
    {"train_micro_batch_size_per_gpu", kInteger, kHonoured, {}, "null", "must be --per_device_train_batch_size"},
    {"gradient_accumulation_steps", kInteger, kHonoured, {}, "null", "must be --gradient_accumulation_steps"},
    {"dataloader_drop_last", kBoolean, kHonoured, {}, "false", "leaves out an epoch's incomplete last batch"},
    // Precision and the sum of gradients.
    {"gradient_clipping", kNumber, kHonoured, {}, "1.0; 0.0 until 2026-06", "must be --max_grad_norm"},
    {"fp16", kObject, kHonoured, {}, "{}", "see below"},
    {"bf16", kObject, kHonoured, {}, "{}", "see below"},
    {"bfloat16", kObject, kHonoured, {}, "{}", "the older name of bf16"},
    {"data_types", kObject, kHonoured, {}, "{}", "see below"},
    {"communication_data_type",
     kText,
     kHonoured,
     {},
     "null",
     "fp16, bf16 or fp32: what gradients travel in; unset: the compute type"},
    {"prescale_gradients", kBoolean, kHonoured, {}, "false", "the same mean; refused under reduce_scatter"},
    {"gradient_predivide_factor", kNumber, kHonoured, {}, "1.0", "as prescale_gradients"},
    {"gradient_allreduce_op", kText, kHonoured, {}, "mean", "mean; a sum of the ranks' gradients is refused"},
    {"fp32_allreduce", kBoolean, kRefused, On::kTrue, "false", "write \"communication_data_type\": \"fp32\""},
    {"seq_parallel_comm_data_type", kText, kSilent, {}, "fp32", "no sequence parallelism"},
    // What the flags decide too.
    {"optimizer", kObject, kHonoured, {}, "null", "see below"},
    {"scheduler", kObject, kHonoured, {}, "null", "see below"},
    {"zero_optimization", kAny, kHonoured, {}, "{}", "see below; true and false are stages 1 and 0"},
    {"zero_allow_untested_optimizer", kBoolean, kSilent, {}, "false", "there is one AdamW for all stages"},
    {"zero_force_ds_cpu_optimizer", kBoolean, kSilent, {}, "true", "there is one AdamW for all devices"},
    {"checkpoint", kObject, kHonoured, {}, "{}", "see below"},
    // Logs.
    {"steps_per_print", kAny, kSilent, {}, "null", "--logging_steps decides"},
    {"log_level", kAny, kSilent, {}, "null", "--log_level decides"},
    {"dump_state", kBoolean, kSilent, {}, "false", "the options of a run are saved in its checkpoints"},
    {"wall_clock_breakdown", kBoolean, kNoted, On::kTrue, "false", "trainer_log.jsonl has tokens_per_second and times"},
    {"memory_breakdown", kBoolean, kNoted, On::kTrue, "false", "trainer_log.jsonl has peak_memory_bytes"},
    {"tensorboard", kAny, kNoted, On::kTrue, "{}", "TensorBoard events are written to --logging_dir by default"},
    {"csv_monitor", kAny, kNoted, On::kTrue, "{}", "trainer_log.jsonl holds the same numbers"},
    {"flops_profiler", kAny, kWarned, On::kTrue, "{}", "trainer_log.jsonl has tokens_per_second"},
    {"wandb", kAny, kWarned, On::kTrue, "{}", "no log goes to Weights & Biases"},
    {"comet", kAny, kWarned, On::kTrue, "{}", "no log goes to Comet"},
    {"comms_logger", kAny, kWarned, On::kTrue, "{}", "calls between ranks are not logged one by one"},
    {"timers", kAny, kWarned, On::kTrue, "{}", "trainer_log.jsonl has the times"},
    // Of DeepSpeed's own code.
    {"activation_checkpointing", kAny, kWarned, On::kPresent, "{}", "--recompute_layers decides, as HF's flag did"},
    {"autotuning", kAny, kWarned, On::kTrue, "{}", "a run takes the batch that it is given"},
    {"aio", kAny, kWarned, On::kPresent, "{}", "nothing is swapped to NVMe"},
    {"nebula", kAny, kRefused, On::kTrue, "{}", "checkpoints go to --output_dir"},
    {"datastates_ckpt", kAny, kRefused, On::kTrue, "null", "checkpoints go to --output_dir"},
    {"vocabulary_size", kAny, kSilent, {}, "null", "DeepSpeed only checks that 8 divides it"},
    {"disable_allgather", kBoolean, kSilent, {}, "false", "DeepSpeed reads it and does not use it"},
    {"allgather_size", kAny, kSilent, {}, "5e8", "of the old format, where zero_optimization is true"},
    {"graph_harvesting", kBoolean, kSilent, {}, "false", "the same result without CUDA graphs"},
    {"use_data_before_expert_parallelism", kBoolean, kSilent, {}, "false", "no expert parallelism"},
    {"managed_gradient_accumulation", kBoolean, kSilent, {}, "true", "the run counts micro-batches itself"},
    // What changes the maths and is not built.
    {"elasticity", kAny, kRefused, On::kTrue, "{}", "it sets the batch by itself; write the batch you want"},
    {"amp", kAny, kRefused, On::kTrue, "{}", "Apex is not built; use --fp16 or --bf16"},
    {"torch_autocast", kAny, kRefused, On::kTrue, "{}", "use --fp16 or --bf16"},
    {"sparse_attention", kAny, kRefused, On::kPresent, "null", "attention is dense"},
    {"sparse_gradients", kAny, kRefused, On::kPresent, "false", "gradients are dense"},
    {"compression_training", kAny, kRefused, On::kTrue, "{}", "compression while training is not built"},
    {"quantize_training", kAny, kRefused, On::kTrue, "{}", "quantisation while training is not built"},
    {"weight_quantization", kAny, kRefused, On::kPresent, "null", "quantisation while training is not built"},
    {"curriculum_learning", kAny, kRefused, On::kTrue, "{}", "rows keep their length and order"},
    {"data_efficiency", kAny, kRefused, On::kTrue, "{}", "all tokens of all rows are trained on"},
    {"progressive_layer_drop", kAny, kRefused, On::kTrue, "{}", "all layers take part in every step"},
    {"eigenvalue", kAny, kRefused, On::kTrue, "{}", "quantisation while training is not built"},
    {"pipeline", kAny, kRefused, On::kAboveOne, "{}", "pipeline parallelism is not built"},
    {"tensor_parallel", kAny, kRefused, On::kAboveOne, "{}", "tensor parallelism is not built"},
    {"sequence_parallel_size", kAny, kRefused, On::kAboveOne, "1", "sequence parallelism is not built"},
    {"expert_parallel", kAny, kRefused, On::kTrue, "{}", "the model has no experts"},
    {"hybrid_engine", kAny, kRefused, On::kTrue, "{}", "training does not generate"},
    {"zenflow", kAny, kRefused, On::kPresent, "null", "updates are never delayed"},
    {"compile", kAny, kRefused, On::kTrue, "{}", "there is no Python to compile"},
});

constexpr auto kFp16 = std::to_array<DeepSpeedKey>({
    {"enabled", kBoolean, kHonoured, {}, "false", "must be --fp16"},
    {"loss_scale", kNumber, kHonoured, {}, "0", "0: dynamic; above 0: fixed at this value"},
    {"initial_scale_power", kInteger, kHonoured, {}, "16", "the first scale is 2 to this power, 0 to 127"},
    {"loss_scale_window", kInteger, kHonoured, {}, "1000", "good steps after which the scale doubles"},
    {"hysteresis", kInteger, kHonoured, {}, "2", "overflows up to the one that halves the scale"},
    {"consecutive_hysteresis", kBoolean, kHonoured, {}, "false", "every good step refills the hysteresis"},
    {"min_loss_scale", kInteger, kHonoured, {}, "1", "an overflow at this scale stops the run"},
    {"auto_cast", kBoolean, kRefused, On::kTrue, "false", "the model's inputs are token ids, which are not cast"},
    {"fp16_master_weights_and_grads", kBoolean, kRefused, On::kTrue, "false", "master weights are float32"},
});

constexpr auto kBf16 = std::to_array<DeepSpeedKey>({
    {"enabled", kBoolean, kHonoured, {}, "false", "must be --bf16"},
    {"check_grad_overflow", kBoolean, kNoted, On::kFalse, "true", "gradients are checked before every update"},
    {"immediate_grad_update", kBoolean, kWarned, On::kTrue, "false", "gradients are added to float32 sums at once"},
    {"bf16_master_weights_and_grads", kBoolean, kRefused, On::kTrue, "false", "master weights are float32"},
    {"bf16_optimizer_states", kBoolean, kRefused, On::kTrue, "false", "AdamW's moments are float32"},
});

constexpr auto kDataTypes = std::to_array<DeepSpeedKey>({
    {"grad_accum_dtype", kText, kHonoured, {}, "null", "fp32, fp16, bf16; sums are float32, a warning says so"},
    {"param_dtype", kAny, kWarned, On::kPresent, "null", "--fp16, --bf16 and --dtype decide"},
    {"buffer_dtype", kAny, kWarned, On::kPresent, "null", "the model has no buffers of a dtype of their own"},
});

constexpr auto kOptimizer = std::to_array<DeepSpeedKey>({
    {"type", kText, kHonoured, {}, "null", "AdamW, or Adam with adam_w_mode; others are refused"},
    {"params", kObject, kHonoured, {}, "{}", "see below"},
    {"legacy_fusion", kBoolean, kSilent, {}, "false", "there is one fused AdamW"},
});

constexpr auto kOptimizerParams = std::to_array<DeepSpeedKey>({
    {"lr", kNumber, kHonoured, {}, "0.001", "must be --learning_rate"},
    {"betas", kAny, kHonoured, {}, "[0.9,0.999]", "must be --adam_beta1 and --adam_beta2"},
    {"eps", kNumber, kHonoured, {}, "1e-8", "must be --adam_epsilon"},
    {"weight_decay", kNumber, kHonoured, {}, "0", "must be --weight_decay"},
    {"adam_w_mode", kBoolean, kHonoured, {}, "true", "false is refused for Adam with a weight decay (L2)"},
    {"torch_adam", kBoolean, kSilent, {}, "false", "the same formula"},
    {"set_grad_none", kBoolean, kSilent, {}, "true", "the same result"},
    {"fused", kBoolean, kSilent, {}, "null", "there is one fused AdamW"},
    {"foreach", kBoolean, kSilent, {}, "null", "there is one fused AdamW"},
    {"fp32_optimizer_states", kBoolean, kRefused, On::kFalse, "true", "AdamW's moments are float32"},
    {"bias_correction", kBoolean, kRefused, On::kFalse, "true", "AdamW without bias correction is not built"},
    {"amsgrad", kBoolean, kRefused, On::kTrue, "false", "AMSGrad is not built"},
    {"max_grad_norm", kAny, kRefused, On::kPresent, "null", "no parameter of the optimizer; write gradient_clipping"},
});

constexpr auto kScheduler = std::to_array<DeepSpeedKey>({
    {"type", kText, kHonoured, {}, "null", "WarmupLR, WarmupDecayLR or WarmupCosineLR; others are refused"},
    {"params", kObject, kHonoured, {}, "{}", "see below"},
});

constexpr auto kSchedulerParams = std::to_array<DeepSpeedKey>({
    {"warmup_min_lr", kNumber, kHonoured, {}, "0", "WarmupLR, WarmupDecayLR: the first rate"},
    {"warmup_max_lr", kNumber, kHonoured, {}, "0.001", "must be --learning_rate, WarmupLR's default"},
    {"warmup_num_steps", kInteger, kHonoured, {}, "1000", "must be the flags' warm-up; at least 2 count"},
    {"warmup_type", kText, kHonoured, {}, "log", "log or linear"},
    {"total_num_steps", kInteger, kHonoured, {}, "null", "WarmupDecayLR, WarmupCosineLR: must be the run's steps"},
    {"warmup_min_ratio", kNumber, kHonoured, {}, "0", "WarmupCosineLR: the first rate as a share of the peak"},
    {"cos_min_ratio", kNumber, kHonoured, {}, "0.0001", "WarmupCosineLR: the last rate as a share of the peak"},
    {"last_batch_iteration", kInteger, kSilent, {}, "-1", "a run that is resumed knows its step"},
});

constexpr auto kCheckpoint = std::to_array<DeepSpeedKey>({
    {"tag_validation", kAny, kSilent, {}, "Warn", "one process names a checkpoint for all"},
    {"load_universal", kBoolean, kRefused, On::kTrue, "false", "any number of ranks loads our checkpoints"},
    {"use_node_local_storage", kBoolean, kHonoured, {}, "false", "every node writes to a disk of its own"},
    {"parallel_write", kAny, kSilent, {}, "{}", "ranks write in parallel as it is"},
    {"writer", kAny, kSilent, {}, "null", "there is one writer"},
});

constexpr auto kZero = std::to_array<DeepSpeedKey>({
    {"stage", kInteger, kHonoured, {}, "0", "0, 1 or 2; 3 is not built yet"},
    {"reduce_bucket_size",
     kInteger,
     kHonoured,
     {},
     "5e8",
     "a layer's gradients travel together; a warning names a larger unit"},
    {"allgather_bucket_size", kInteger, kHonoured, {}, "5e8", "a layer's weights travel together; must be even"},
    {"reduce_scatter", kBoolean, kHonoured, {}, "true", "false warns: reduce-scatter gives the same up to rounding"},
    // How DeepSpeed arranges its buffers.
    {"contiguous_gradients", kBoolean, kSilent, {}, "true", "buckets are contiguous"},
    {"overlap_comm", kBoolean, kSilent, {}, "null", "communication overlaps the backward pass whenever it can"},
    {"use_multi_rank_bucket_allreduce", kBoolean, kSilent, {}, "true", "a true reduce-scatter takes its place"},
    {"allgather_partitions", kBoolean, kSilent, {}, "true", "partitions are gathered in either case"},
    {"round_robin_gradients", kBoolean, kSilent, {}, "false", "only the order of copies"},
    {"load_from_fp32_weights", kBoolean, kSilent, {}, "true", "masters are read with all bits of the checkpoint"},
    {"ignore_unused_parameters", kBoolean, kSilent, {}, "true", "every trained weight has a gradient"},
    {"sub_group_size", kInteger, kSilent, {}, "1e9", "of stage 3"},
    {"elastic_checkpoint", kBoolean, kNoted, On::kTrue, "false", "any number of ranks loads any checkpoint"},
    {"legacy_stage1", kBoolean, kNoted, On::kTrue, "false", "there is one stage 1"},
    {"enable_sanity_checks", kBoolean, kSilent, {}, "false", "of DeepSpeed's own code"},
    {"log_trace_cache_warnings", kBoolean, kSilent, {}, "false", "of stage 3"},
    // Offloading.
    {"offload_optimizer", kObject, kRefused, On::kDevice, "null", "offloading is not built yet"},
    {"offload_param", kObject, kRefused, On::kDevice, "null", "offloading is not built yet"},
    {"cpu_offload", kBoolean, kRefused, On::kTrue, "null", "means offload_optimizer, which is not built yet"},
    {"cpu_offload_param", kBoolean, kRefused, On::kTrue, "null", "means offload_param, which is not built yet"},
    {"cpu_offload_use_pin_memory", kBoolean, kSilent, {}, "null", "nothing is offloaded"},
    // ZeRO++, MiCS and others that change what is computed or where it lies.
    {"zero_hpz_partition_size", kInteger, kRefused, On::kAboveOne, "1", "hybrid sharding is not built yet"},
    {"mics_shard_size", kInteger, kRefused, On::kPresent, "-1", "hybrid sharding is not built yet"},
    {"mics_hierarchical_params_gather", kBoolean, kSilent, {}, "false", "of MiCS"},
    {"zero_quantized_weights", kBoolean, kRefused, On::kTrue, "false", "weights travel unquantised"},
    {"zero_quantized_nontrainable_weights", kBoolean, kRefused, On::kTrue, "false", "weights travel unquantised"},
    {"zero_quantized_gradients", kBoolean, kRefused, On::kTrue, "false", "gradients travel unquantised"},
    {"zeropp_loco_param", kAny, kRefused, On::kPresent, "null", "gradients travel unquantised"},
    {"zenflow", kAny, kRefused, On::kPresent, "null", "updates are never delayed"},
    // Stage 3; Hugging Face's files carry these under stage 2.
    {"stage3_prefetch_bucket_size", kInteger, kSilent, {}, "5e7", "of stage 3"},
    {"stage3_param_persistence_threshold", kInteger, kSilent, {}, "1e5", "of stage 3"},
    {"stage3_model_persistence_threshold", kInteger, kSilent, {}, "9223372036854775807", "of stage 3"},
    {"stage3_max_live_parameters", kInteger, kSilent, {}, "1e9", "of stage 3"},
    {"stage3_max_reuse_distance", kInteger, kSilent, {}, "1e9", "of stage 3"},
    {"stage3_gather_16bit_weights_on_model_save", kBoolean, kSilent, {}, "false", "of stage 3"},
    {"stage3_gather_fp16_weights_on_model_save", kBoolean, kSilent, {}, "false", "of stage 3"},
    {"stage3_module_granularity_threshold", kInteger, kSilent, {}, "0", "of stage 3"},
    {"stage3_use_all_reduce_for_fetch_params", kBoolean, kSilent, {}, "false", "of stage 3"},
    {"stage3_allgather_sequential", kBoolean, kSilent, {}, "false", "of stage 3"},
    {"stage3_partition_stream_chunk_size", kInteger, kSilent, {}, "0", "of stage 3"},
    {"memory_efficient_linear", kBoolean, kSilent, {}, "true", "of stage 3"},
    {"pipeline_loading_checkpoint", kBoolean, kSilent, {}, "false", "of stage 3"},
    {"override_module_apply", kBoolean, kSilent, {}, "true", "of stage 3"},
    {"save_muon_momentum_buffer_in_memory", kBoolean, kSilent, {}, "false", "of stage 3"},
    {"leaf_module", kAny, kSilent, {}, "{}", "of stage 3"},
});

constexpr auto kOffloadOptimizer = std::to_array<DeepSpeedKey>({
    {"device", kText, kHonoured, {}, "none", "none; cpu and nvme are refused: offloading is not built yet"},
    {"nvme_path", kText, kSilent, {}, "null", "nothing is offloaded"},
    {"buffer_count", kInteger, kSilent, {}, "4", "nothing is offloaded"},
    {"pin_memory", kBoolean, kSilent, {}, "true", "nothing is offloaded"},
    {"pipeline_read", kBoolean, kSilent, {}, "false", "nothing is offloaded"},
    {"pipeline_write", kBoolean, kSilent, {}, "false", "nothing is offloaded"},
    {"fast_init", kBoolean, kSilent, {}, "false", "nothing is offloaded"},
    {"ratio", kNumber, kSilent, {}, "1.0", "nothing is offloaded"},
    {"super_offload", kBoolean, kSilent, {}, "false", "nothing is offloaded"},
    {"convert_grad_on_cpu", kBoolean, kSilent, {}, "true", "nothing is offloaded"},
    {"cpuadam_cores_perc", kNumber, kSilent, {}, "0.8", "nothing is offloaded"},
});

constexpr auto kOffloadParam = std::to_array<DeepSpeedKey>({
    {"device", kText, kHonoured, {}, "none", "none; cpu and nvme are refused: offloading is not built yet"},
    {"nvme_path", kText, kSilent, {}, "null", "nothing is offloaded"},
    {"buffer_count", kInteger, kSilent, {}, "5", "nothing is offloaded"},
    {"buffer_size", kInteger, kSilent, {}, "1e8", "nothing is offloaded"},
    {"max_in_cpu", kInteger, kSilent, {}, "1e9", "nothing is offloaded"},
    {"pin_memory", kBoolean, kSilent, {}, "true", "nothing is offloaded"},
});

constexpr auto kSections = std::to_array<DeepSpeedSection>({
    {"", false, kTop},
    {"fp16", true, kFp16},
    {"bf16", true, kBf16},
    {"bfloat16", true, kBf16},
    {"data_types", false, kDataTypes},
    {"optimizer", false, kOptimizer},
    {"optimizer.params", true, kOptimizerParams},
    {"scheduler", false, kScheduler},
    {"scheduler.params", true, kSchedulerParams},
    {"checkpoint", false, kCheckpoint},
    {"zero_optimization", true, kZero},
    {"zero_optimization.offload_optimizer", true, kOffloadOptimizer},
    {"zero_optimization.offload_param", true, kOffloadParam},
});

bool is_enabled(const OrderedJson& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (!value.is_object()) return false;
  for (const auto& [name, member] : value.items())
    if ((name == "enabled" || member.is_object()) && is_enabled(member)) return true;
  return false;
}

bool is_present(const OrderedJson& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() > 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty() && value != OrderedJson("auto");
  return std::any_of(value.begin(), value.end(), [](const OrderedJson& member) { return is_present(member); });
}

bool is_above_one(const OrderedJson& value) {
  if (value.is_number()) return value.get<double>() > 1;
  return value.is_object() && std::any_of(value.begin(), value.end(), is_above_one);
}

}  // namespace

std::span<const DeepSpeedSection> deepspeed_sections() {
  return kSections;
}

const DeepSpeedSection& deepspeed_section(std::string_view name) {
  return *std::find_if(kSections.begin(), kSections.end(),
                       [name](const auto& section) { return section.name == name; });
}

const DeepSpeedKey* find_deepspeed_key(const DeepSpeedSection& section, std::string_view name) {
  for (const auto& key : section.keys)
    if (key.name == name) return &key;
  return nullptr;
}

bool is_on(const DeepSpeedKey& key, const OrderedJson& value) {
  switch (key.on) {
    case DeepSpeedOn::kTrue:
      return is_enabled(value);
    case DeepSpeedOn::kFalse:
      return value == OrderedJson(false);
    case DeepSpeedOn::kPresent:
      return is_present(value);
    case DeepSpeedOn::kAboveOne:
      return is_above_one(value);
    case DeepSpeedOn::kDevice:
      return value.is_object() && value.contains("device") && is_present(value["device"]) && value["device"] != "none";
  }
  return false;
}

}  // namespace baichuan
