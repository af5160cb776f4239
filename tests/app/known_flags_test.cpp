// Law: every flag that the stacks of 2023 to 2025 gave their trainer is known here: taken, of no effect, or refused by
// its own name. The list is that of LLaMA-Factory's and transformers' argument classes, older and newer names alike.
#include <gtest/gtest.h>

#include "app/command_line.h"
#include "app/train_options.h"
#include "core/error.h"

namespace baichuan {
namespace {

constexpr const char* kModelNames[] = {
    "model_name_or_path",   "cache_dir",
    "use_fast_tokenizer",   "use_auth_token",
    "model_revision",       "padding_side",
    "quantization_bit",     "quantization_type",
    "double_quantization",  "compute_dtype",
    "checkpoint_dir",       "adapter_name_or_path",
    "reward_model",         "resume_lora_training",
    "create_new_adapter",   "plot_loss",
    "rope_scaling",         "flash_attn",
    "hf_auth_token",        "model_max_length",
    "split_special_tokens", "shift_attn",
    "upcast_layernorm",     "export_dir",
};

constexpr const char* kDataNames[] = {
    "dataset",
    "dataset_dir",
    "split",
    "overwrite_cache",
    "preprocessing_num_workers",
    "max_samples",
    "max_source_length",
    "max_target_length",
    "cutoff_len",
    "eval_num_beams",
    "source_prefix",
    "system_prompt",
    "default_system",
    "dev_ratio",
    "ignore_pad_token_for_loss",
    "val_size",
    "prompt_template",
    "template",
    "streaming",
    "buffer_size",
    "mix_strategy",
    "interleave_probs",
    "train_on_prompt",
    "sft_packing",
    "packing",
    "neat_packing",
};

constexpr const char* kMethodNames[] = {
    "stage",
    "finetuning_type",
    "num_hidden_layers",
    "num_layer_trainable",
    "name_module_trainable",
    "lora_rank",
    "lora_alpha",
    "lora_dropout",
    "lora_target",
    "additional_target",
    "ppo_score_norm",
    "ppo_logger",
    "ppo_target",
    "dpo_beta",
    "freeze_trainable_layers",
    "do_sample",
    "temperature",
    "top_p",
    "top_k",
    "freeze_trainable_modules",
    "num_beams",
    "max_length",
    "max_new_tokens",
    "repetition_penalty",
    "length_penalty",
};

constexpr const char* kTrainerNames[] = {
    "output_dir",
    "overwrite_output_dir",
    "do_train",
    "do_eval",
    "do_predict",
    "evaluation_strategy",
    "eval_strategy",
    "prediction_loss_only",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "eval_accumulation_steps",
    "eval_delay",
    "learning_rate",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "num_train_epochs",
    "max_steps",
    "lr_scheduler_type",
    "warmup_ratio",
    "warmup_steps",
    "log_level",
    "logging_dir",
    "logging_strategy",
    "logging_first_step",
    "logging_steps",
    "logging_nan_inf_filter",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "save_safetensors",
    "save_on_each_node",
    "no_cuda",
    "use_cpu",
    "seed",
    "data_seed",
    "bf16",
    "fp16",
    "fp16_opt_level",
    "half_precision_backend",
    "bf16_full_eval",
    "fp16_full_eval",
    "tf32",
    "local_rank",
    "ddp_backend",
    "dataloader_drop_last",
    "eval_steps",
    "dataloader_num_workers",
    "past_index",
    "run_name",
    "disable_tqdm",
    "remove_unused_columns",
    "label_names",
    "load_best_model_at_end",
    "metric_for_best_model",
    "greater_is_better",
    "ignore_data_skip",
    "sharded_ddp",
    "fsdp",
    "fsdp_config",
    "deepspeed",
    "label_smoothing_factor",
    "optim",
    "optim_args",
    "adafactor",
    "group_by_length",
    "train_sampling_strategy",
    "length_column_name",
    "report_to",
    "ddp_find_unused_parameters",
    "ddp_bucket_cap_mb",
    "dataloader_pin_memory",
    "skip_memory_metrics",
    "push_to_hub",
    "resume_from_checkpoint",
    "gradient_checkpointing",
    "include_inputs_for_metrics",
    "auto_find_batch_size",
    "full_determinism",
    "ddp_timeout",
    "torch_compile",
    "average_tokens_across_devices",
    "sortish_sampler",
    "predict_with_generate",
    "generation_max_length",
    "generation_num_beams",
    "generation_config",
};

class KnownFlags : public testing::Test {
 protected:
  KnownFlags() { options_.add_to(table_); }

  std::string failure(std::vector<std::string> words) {
    words.insert(words.begin(), {"--model_name_or_path", "m", "--output_dir", "o", "--do_train"});
    try {
      parse_command_line(table_, words, /*allow_recipe=*/false);
      options_.validate(table_);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  }

  TrainCommandOptions options_;
  OptionTable table_;
};

TEST_F(KnownFlags, HoldEveryNameOfTheOtherStacks) {
  for (const auto& names : {std::span<const char* const>(kModelNames), std::span<const char* const>(kDataNames),
                            std::span<const char* const>(kMethodNames), std::span<const char* const>(kTrainerNames)})
    for (const char* const name : names) EXPECT_NE(table_.find(name), nullptr) << "--" << name;
}

TEST_F(KnownFlags, TakeFlashAttnAsATruthValueAndAsAName) {
  EXPECT_EQ(failure({"--flash_attn"}), "");
  for (const char* value : {"true", "False", "auto", "disabled", "sdpa", "fa2", "fa3"})
    EXPECT_EQ(failure({"--flash_attn", value}), "");
  EXPECT_TRUE(failure({"--flash_attn", "fast"}).starts_with("--flash_attn must be one of auto, disabled, sdpa, "));
}

TEST_F(KnownFlags, CreateANewAdapterWhereAnOlderLineWouldNotResume) {
  EXPECT_EQ(failure({"--create_new_adapter"}), "");
  EXPECT_FALSE(options_.launcher.resume_lora_training);
  EXPECT_EQ(failure({"--create_new_adapter", "false"}), "");
  EXPECT_TRUE(options_.launcher.resume_lora_training);
  EXPECT_EQ(failure({"--create_new_adapter", "--no_resume_lora_training"}), "");
  EXPECT_EQ(failure({"--create_new_adapter", "--resume_lora_training", "true"}),
            "--create_new_adapter true and --resume_lora_training true contradict each other; give one of them");
}

TEST_F(KnownFlags, ThatAreNotBuiltStopWithTheirName) {
  const std::string known = " is known but not built yet; leave it out";
  EXPECT_EQ(failure({"--neat_packing"}), "--neat_packing" + known + " or at false");
  EXPECT_EQ(failure({"--eval_num_beams", "4"}), "--eval_num_beams" + known);
  EXPECT_EQ(failure({"--compute_dtype", "float16"}), "--compute_dtype" + known);
  EXPECT_EQ(failure({"--train_sampling_strategy", "sequential"}),
            "--train_sampling_strategy" + known + " or at \"random\"");
  EXPECT_EQ(failure({"--average_tokens_across_devices", "false"}),
            "--average_tokens_across_devices" + known + " or at true");
  EXPECT_EQ(failure({"--stage", "kto"}), "--stage kto is known but not built yet; only sft is");
}

}  // namespace
}  // namespace baichuan
