#include <array>

#include "train/training_options.h"

namespace baichuan {

namespace {

struct Accepted {
  std::string_view name;
  OptionKind kind;
  Support support;
  std::string_view default_text;  // JSON
  std::string_view help;
  std::string_view aliases = "";
};

constexpr auto kBool = OptionKind::kBool;
constexpr auto kInteger = OptionKind::kInteger;
constexpr auto kNumber = OptionKind::kNumber;
constexpr auto kText = OptionKind::kText;
constexpr auto kNoEffect = Support::kNoEffect;
constexpr auto kNotBuilt = Support::kNotBuilt;

constexpr auto kAccepted = std::to_array<Accepted>({
    // The model and its loading.
    {"quantization_bit", kInteger, kNotBuilt, "null", "Training over a quantised base (QLoRA)."},
    {"use_fast_tokenizer", kBool, kNoEffect, "false", "The tokenizer is native."},
    {"use_auth_token", kBool, kNoEffect, "false", "Nothing is downloaded."},
    {"hf_auth_token", kText, kNoEffect, "null", "Nothing is downloaded."},
    {"trust_remote_code", kBool, kNoEffect, "false", "No code of a checkpoint is ever run."},
    {"quantization_type", kText, kNotBuilt, "\"nf4\"", "Kind of 4-bit weights for QLoRA."},
    {"double_quantization", kBool, kNotBuilt, "true", "Quantised quantisation constants for QLoRA."},
    {"reward_model", kText, kNotBuilt, "null", "Reward model of PPO."},
    {"rope_scaling", kText, kNotBuilt, "null", "Stretching of rotary positions."},
    {"flash_attn", kBool, kNoEffect, "false", "The fastest exact attention is always used."},
    {"shift_attn", kBool, kNotBuilt, "false", "Shifted sparse attention."},
    {"upcast_layernorm", kBool, kNoEffect, "false", "Norms are always computed in float32."},
    {"split_special_tokens", kBool, kNoEffect, "false", "Special tokens in text never give control ids."},
    // Fine-tuning methods that are not built yet.
    {"num_hidden_layers", kInteger, kNotBuilt, "32", "Layers of the model, for freeze training."},
    {"num_layer_trainable", kInteger, kNotBuilt, "3", "Layers that freeze training trains.", "freeze_trainable_layers"},
    {"name_module_trainable", kText, kNotBuilt, "\"mlp\"", "Modules that freeze training trains.",
     "freeze_trainable_modules"},
    {"additional_target", kText, kNotBuilt, "null", "Modules trained in full beside LoRA."},
    {"ppo_score_norm", kBool, kNotBuilt, "false", "Score normalisation of PPO."},
    {"ppo_logger", kText, kNotBuilt, "null", "Logger of PPO."},
    {"ppo_target", kNumber, kNotBuilt, "6.0", "KL target of PPO."},
    {"dpo_beta", kNumber, kNotBuilt, "0.1", "Temperature of DPO."},
    {"do_predict", kBool, kNotBuilt, "false", "Generation over the evaluation set."},
    {"predict_with_generate", kBool, kNotBuilt, "false", "Generation as evaluation."},
    {"generation_max_length", kInteger, kNotBuilt, "null", "Length limit of generation as evaluation."},
    {"generation_num_beams", kInteger, kNotBuilt, "null", "Beams of generation as evaluation."},
    {"generation_config", kText, kNotBuilt, "null", "Settings of generation as evaluation."},
    {"sortish_sampler", kBool, kNotBuilt, "false", "Roughly length-sorted batches."},
    {"group_by_length", kBool, kNotBuilt, "false", "Batches of rows of like length."},
    {"length_column_name", kText, kNoEffect, "\"length\"", "Lengths are always known."},
    {"label_smoothing_factor", kNumber, kNotBuilt, "0.0", "Label smoothing."},
    {"neftune_noise_alpha", kNumber, kNotBuilt, "null", "Noise on the embeddings."},
    {"adafactor", kBool, kNotBuilt, "false", "The Adafactor optimiser."},
    {"optim_args", kText, kNotBuilt, "null", "Arguments of other optimisers."},
    // Generation, which the trainer of 2023 parsed along.
    {"do_sample", kBool, kNoEffect, "true", "Training generates nothing."},
    {"temperature", kNumber, kNoEffect, "0.95", "Training generates nothing."},
    {"top_p", kNumber, kNoEffect, "0.7", "Training generates nothing."},
    {"top_k", kInteger, kNoEffect, "50", "Training generates nothing."},
    {"num_beams", kInteger, kNoEffect, "1", "Training generates nothing."},
    {"max_length", kInteger, kNoEffect, "null", "Training generates nothing."},
    {"max_new_tokens", kInteger, kNoEffect, "512", "Training generates nothing."},
    {"repetition_penalty", kNumber, kNoEffect, "1.0", "Training generates nothing."},
    {"length_penalty", kNumber, kNoEffect, "1.0", "Training generates nothing."},
    // Several devices.
    {"ddp_backend", kText, kNoEffect, "null", "NCCL on GPUs."},
    {"ddp_find_unused_parameters", kBool, kNoEffect, "null", "Every trained parameter is used."},
    {"ddp_bucket_cap_mb", kInteger, kNoEffect, "null", "Buckets follow the model's layers."},
    {"ddp_timeout", kInteger, kNoEffect, "1800", "Nothing waits inside a collective."},
    {"sharded_ddp", kText, kNotBuilt, "\"\"", "Sharding of fairscale."},
    {"fsdp", kText, kNotBuilt, "\"\"", "Sharding of PyTorch."},
    {"fsdp_config", kText, kNotBuilt, "null", "Settings of PyTorch's sharding."},
    {"fsdp_min_num_params", kInteger, kNotBuilt, "0", "Settings of PyTorch's sharding."},
    {"fsdp_transformer_layer_cls_to_wrap", kText, kNotBuilt, "null", "Settings of PyTorch's sharding."},
    {"no_cuda", kBool, kNoEffect, "false", "--device cpu says the same.", "use_cpu"},
    // Details of the Python trainer.
    {"prediction_loss_only", kBool, kNoEffect, "false", "Evaluation gives the loss."},
    {"eval_accumulation_steps", kInteger, kNoEffect, "null", "Evaluation keeps no logits."},
    {"eval_delay", kNumber, kNotBuilt, "0", "Steps before the first evaluation."},
    {"log_level_replica", kText, kNoEffect, "\"warning\"", "One rank writes."},
    {"log_on_each_node", kBool, kNoEffect, "true", "One rank writes."},
    {"logging_nan_inf_filter", kBool, kNoEffect, "true", "A non-finite loss stops the run."},
    {"save_safetensors", kBool, kNoEffect, "true", "Weights are saved as safetensors; export writes .bin."},
    {"save_on_each_node", kBool, kNoEffect, "false", "Checkpoints are written once."},
    {"use_mps_device", kBool, kNotBuilt, "false", "Apple GPUs."},
    {"data_seed", kInteger, kNotBuilt, "null", "A seed for the data order alone."},
    {"jit_mode_eval", kBool, kNoEffect, "false", "The program is compiled."},
    {"use_ipex", kBool, kNoEffect, "false", "The program is compiled."},
    {"fp16_opt_level", kText, kNoEffect, "\"O1\"", "Masters are float32."},
    {"half_precision_backend", kText, kNoEffect, "\"auto\"", "Mixed precision is native."},
    {"fp16_backend", kText, kNoEffect, "\"auto\"", "Mixed precision is native."},
    {"bf16_full_eval", kBool, kNoEffect, "false", "Evaluation uses the compute type."},
    {"fp16_full_eval", kBool, kNoEffect, "false", "Evaluation uses the compute type."},
    {"tf32", kBool, kNoEffect, "null", "float32 products keep all their bits."},
    {"dataloader_drop_last", kBool, kNotBuilt, "false", "Dropping the last short batch."},
    {"dataloader_num_workers", kInteger, kNoEffect, "0", "Batches are read from a memory map."},
    {"dataloader_pin_memory", kBool, kNoEffect, "true", "Batches are read from a memory map."},
    {"past_index", kInteger, kNoEffect, "-1", "Baichuan has no such state."},
    {"run_name", kText, kNoEffect, "null", "Runs are named by their folder."},
    {"disable_tqdm", kBool, kNoEffect, "null", "The bar appears on a terminal only."},
    {"remove_unused_columns", kBool, kNoEffect, "true", "Only what the model needs is read."},
    {"label_names", kText, kNoEffect, "null", "Labels are made by the template."},
    {"ignore_data_skip", kBool, kNotBuilt, "false", "Resuming at the start of the data."},
    {"skip_memory_metrics", kBool, kNoEffect, "true", "Peak memory is always logged."},
    {"gradient_checkpointing", kBool, kNoEffect, "null", "--recompute_layers says how many layers."},
    {"include_inputs_for_metrics", kBool, kNoEffect, "false", "Evaluation gives the loss."},
    {"auto_find_batch_size", kBool, kNotBuilt, "false", "Halving the batch size when memory runs out."},
    {"full_determinism", kBool, kNoEffect, "false", "Runs on the CPU are deterministic."},
    {"ray_scope", kText, kNoEffect, "\"last\"", "No hyperparameter search."},
    {"debug", kText, kNoEffect, "\"\"", "--log_level debug says more."},
    {"torch_compile", kBool, kNoEffect, "false", "The program is compiled."},
    {"torch_compile_backend", kText, kNoEffect, "null", "The program is compiled."},
    {"torch_compile_mode", kText, kNoEffect, "null", "The program is compiled."},
    {"torchdynamo", kText, kNoEffect, "null", "The program is compiled."},
    {"xpu_backend", kText, kNoEffect, "null", "NCCL on GPUs."},
    {"tpu_num_cores", kInteger, kNoEffect, "null", "There is no TPU backend."},
    {"tpu_metrics_debug", kBool, kNoEffect, "false", "There is no TPU backend."},
    {"mp_parameters", kText, kNoEffect, "\"\"", "A setting of a cloud service."},
    {"push_to_hub", kBool, kNotBuilt, "false", "Uploading the result."},
    {"hub_model_id", kText, kNoEffect, "null", "Nothing is uploaded."},
    {"hub_strategy", kText, kNoEffect, "\"every_save\"", "Nothing is uploaded."},
    {"hub_token", kText, kNoEffect, "null", "Nothing is uploaded."},
    {"hub_private_repo", kBool, kNoEffect, "false", "Nothing is uploaded."},
    {"push_to_hub_model_id", kText, kNoEffect, "null", "Nothing is uploaded."},
    {"push_to_hub_organization", kText, kNoEffect, "null", "Nothing is uploaded."},
    {"push_to_hub_token", kText, kNoEffect, "null", "Nothing is uploaded."},
});

}  // namespace

void add_accepted_training_options(OptionTable& table) {
  for (const auto& option : kAccepted)
    table.add_accepted("Accepted from older command lines",
                       {.name = option.name, .help = option.help, .aliases = option.aliases, .support = option.support},
                       option.kind, Json::parse(option.default_text));
}

}  // namespace baichuan
