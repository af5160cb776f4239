// Options of `train`: names, aliases and defaults of the 2023 stack (transformers 4.31 TrainingArguments and
// LLaMA-Efficient-Tuning's FinetuningArguments), so that its command lines are taken as they are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/options.h"

namespace baichuan {

// What is trained, and how strictly the numbers of the 2023 stack are reproduced.
struct FinetuningOptions {
  std::string stage = "sft";
  std::string finetuning_type = "lora";
  std::string compat = "none";
  std::optional<std::string> loss_normalization;
  std::string recompute_layers = "auto";
  bool do_train = false;
  bool do_eval = false;
  bool plot_loss = false;

  static void describe(auto&& field) {
    using O = FinetuningOptions;
    field(&O::stage, {.name = "stage", .help = "Kind of training.", .choices = "sft|pt|rm|ppo|dpo|kto"});
    field(&O::finetuning_type,
          {.name = "finetuning_type", .help = "What is trained.", .choices = "full|lora|freeze|none"});
    field(&O::compat,
          {.name = "compat",
           .help = "2023: step count, loss means, data order, logs and decay exactly as the Python stack of 2023.",
           .choices = "none|2023"});
    field(&O::loss_normalization,
          {.name = "loss_normalization",
           .help = "token: mean over the labelled tokens of the global batch; microbatch: mean of micro-batch means.",
           .choices = "token|microbatch"});
    field(&O::recompute_layers,
          {.name = "recompute_layers",
           .help = "Layers whose activations are computed again in the backward pass: a number, all, none or auto."});
    field(&O::do_train, {.name = "do_train", .help = "Train."});
    field(&O::do_eval, {.name = "do_eval", .help = "Evaluate; on whenever an evaluation strategy is set."});
    field(&O::plot_loss, {.name = "plot_loss", .help = "Draw training_loss.png and training_eval_loss.png."});
  }
};

struct OptimizationOptions {
  double learning_rate = 5e-5;
  double weight_decay = 0;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  std::string on_non_finite = "error";
  double max_grad_norm = 1.0;
  double num_train_epochs = 3;
  std::int64_t max_steps = -1;
  std::string lr_scheduler_type = "linear";
  double warmup_ratio = 0;
  std::int64_t warmup_steps = 0;
  std::string optim = "adamw_torch";
  std::int64_t per_device_train_batch_size = 8;
  std::int64_t per_device_eval_batch_size = 8;
  std::int64_t gradient_accumulation_steps = 1;
  bool fp16 = false;
  bool bf16 = false;
  bool disable_shuffling = false;

  static void describe(auto&& field) {
    using O = OptimizationOptions;
    field(&O::learning_rate,
          {.name = "learning_rate", .help = "Peak rate, reached after warm-up.", .range = {.min = 0}});
    field(&O::weight_decay,
          {.name = "weight_decay", .help = "Decoupled (AdamW) decay of matrices.", .range = {.min = 0}});
    field(&O::adam_beta1, {.name = "adam_beta1", .help = "Decay of the first moment.", .range = {0, 1}});
    field(&O::adam_beta2, {.name = "adam_beta2", .help = "Decay of the second moment.", .range = {0, 1}});
    field(&O::adam_epsilon, {.name = "adam_epsilon", .help = "Added to the denominator.", .range = {.min = 0}});
    field(&O::max_grad_norm, {.name = "max_grad_norm",
                              .help = "Global gradient norm above which gradients are scaled down; 0 never.",
                              .range = {.min = 0}});
    field(&O::on_non_finite,
          {.name = "on_non_finite",
           .help = "What a loss or gradient that is not finite does: stop the run before the update, or leave out the "
                   "step and count it (ten in a row stop the run).",
           .choices = "error|skip"});
    field(&O::num_train_epochs, {.name = "num_train_epochs", .help = "Passes over the data.", .range = {.min = 0}});
    field(&O::max_steps, {.name = "max_steps",
                          .help = "Optimiser steps; above 0 it replaces num_train_epochs.",
                          .unit = "steps",
                          .range = {.min = -1}});
    field(&O::lr_scheduler_type,
          {.name = "lr_scheduler_type",
           .help = "How the rate changes.",
           .choices = "linear|cosine|cosine_with_restarts|polynomial|constant|constant_with_warmup|inverse_sqrt|"
                      "reduce_lr_on_plateau"});
    field(&O::warmup_ratio,
          {.name = "warmup_ratio", .help = "Share of all steps in which the rate rises.", .range = {0, 1}});
    field(&O::warmup_steps, {.name = "warmup_steps",
                             .help = "Steps in which the rate rises; wins over warmup_ratio.",
                             .unit = "steps",
                             .range = {.min = 0}});
    field(&O::optim, {.name = "optim",
                      .help = "adamw_torch: PyTorch's AdamW; adamw_hf: the one of transformers 4.31.",
                      .choices = "adamw_torch|adamw_torch_fused|adamw_hf"});
    field(&O::per_device_train_batch_size,
          {.name = "per_device_train_batch_size", .help = "Rows of a micro-batch.", .range = {.min = 1}});
    field(&O::per_device_eval_batch_size,
          {.name = "per_device_eval_batch_size", .help = "Rows of an evaluation batch.", .range = {.min = 1}});
    field(&O::gradient_accumulation_steps,
          {.name = "gradient_accumulation_steps", .help = "Micro-batches of an optimiser step.", .range = {.min = 1}});
    field(&O::fp16, {.name = "fp16", .help = "Compute in float16 with dynamic loss scaling."});
    field(&O::bf16, {.name = "bf16", .help = "Compute in bfloat16."});
    field(&O::disable_shuffling, {.name = "disable_shuffling", .help = "Keep the order of the data."});
  }
};

struct LoggingOptions {
  std::string output_dir;
  bool overwrite_output_dir = false;
  std::optional<std::string> resume_from_checkpoint;
  std::string evaluation_strategy = "no";
  std::string save_strategy = "steps";
  std::string logging_strategy = "steps";
  double logging_steps = 500;
  std::optional<double> eval_steps;
  double save_steps = 500;
  std::int64_t save_total_limit = 0;
  bool save_in_background = true;
  bool logging_first_step = false;
  bool load_best_model_at_end = false;
  std::optional<std::string> metric_for_best_model;
  std::optional<bool> greater_is_better;
  std::optional<std::string> logging_dir;
  std::string report_to = "tensorboard";

  static void describe(auto&& field) {
    using O = LoggingOptions;
    field(&O::output_dir, {.name = "output_dir", .help = "Folder for checkpoints, logs and the final model."});
    field(&O::overwrite_output_dir,
          {.name = "overwrite_output_dir", .help = "Start anew in a folder that holds checkpoints."});
    field(&O::resume_from_checkpoint,
          {.name = "resume_from_checkpoint",
           .help = "Go on from a checkpoint: its folder, latest or true for the newest valid one."});
    field(&O::evaluation_strategy, {.name = "evaluation_strategy",
                                    .help = "When to evaluate.",
                                    .aliases = "eval_strategy",
                                    .choices = "no|steps|epoch"});
    field(&O::save_strategy,
          {.name = "save_strategy", .help = "When to save a checkpoint.", .choices = "no|steps|epoch"});
    field(&O::logging_strategy, {.name = "logging_strategy", .help = "When to log.", .choices = "no|steps|epoch"});
    field(&O::logging_steps, {.name = "logging_steps",
                              .help = "Steps between log rows; below 1 a share of all steps.",
                              .unit = "steps",
                              .range = {.min = 0}});
    field(&O::eval_steps, {.name = "eval_steps",
                           .help = "Steps between evaluations; logging_steps unless given.",
                           .unit = "steps",
                           .range = {.min = 0}});
    field(&O::save_steps, {.name = "save_steps",
                           .help = "Steps between checkpoints; below 1 a share of all steps.",
                           .unit = "steps",
                           .range = {.min = 0}});
    field(&O::save_total_limit, {.name = "save_total_limit",
                                 .help = "Checkpoints kept, the best one always among them; 0 keeps all.",
                                 .range = {.min = 0}});
    field(&O::save_in_background,
          {.name = "save_in_background",
           .help = "Write checkpoints while training goes on, from a copy in the host's memory, if there is room."});
    field(&O::logging_first_step, {.name = "logging_first_step", .help = "Log the first step too."});
    field(&O::load_best_model_at_end,
          {.name = "load_best_model_at_end", .help = "Finish with the weights of the best evaluation."});
    field(&O::metric_for_best_model, {.name = "metric_for_best_model",
                                      .help = "Metric that decides what is best; eval_loss unless given.",
                                      .choices = "loss|eval_loss"});
    field(&O::greater_is_better, {.name = "greater_is_better", .help = "Whether a larger metric is better."});
    field(&O::logging_dir, {.name = "logging_dir", .help = "Folder of the TensorBoard events."});
    field(&O::report_to, {.name = "report_to", .help = "tensorboard, none or all; other services are not built."});
  }
};

struct LauncherOptions {
  std::int64_t num_gpus = 1;
  std::int64_t num_processes = 1;
  std::int64_t max_restarts = 0;
  std::int64_t local_rank = -1;
  std::int64_t ddp_timeout = 1800;
  std::optional<std::int64_t> zero_stage;
  bool deterministic_reduce = false;
  std::optional<std::string> deepspeed;
  bool resume_lora_training = true;
  std::optional<bool> create_new_adapter;  // resume_lora_training's later name, the other way round

  static void describe(auto&& field) {
    using O = LauncherOptions;
    field(&O::num_gpus,
          {.name = "num_gpus",
           .help = "GPUs of this machine to train on, a rank on each; with --device cpu, ranks on its CPUs.",
           .range = {.min = 1}});
    field(&O::num_processes,
          {.name = "num_processes", .help = "Ranks to start on this machine's CPUs.", .range = {.min = 1}});
    field(&O::max_restarts,
          {.name = "max_restarts",
           .help = "How often the ranks of this machine are started again after one has died, from the newest valid "
                   "checkpoint.",
           .range = {.min = 0}});
    field(&O::local_rank,
          {.name = "local_rank", .help = "Appended by some launchers; must agree with what they say otherwise."});
    field(&O::ddp_timeout, {.name = "ddp_timeout",
                            .help = "How long no rank may move before the run ends and names the one that hangs.",
                            .unit = "seconds",
                            .range = {.min = 1}});
    field(&O::zero_stage,
          {.name = "zero_stage",
           .help = "What the ranks divide: 0 nothing, 1 the optimiser's state, 2 gradients too. Unless given, what the "
                   "DeepSpeed file says, else 2 for full training and 0 for LoRA.",
           .range = {0, 2}});
    field(&O::deterministic_reduce,
          {.name = "deterministic_reduce",
           .help = "The same numbers bit for bit for any number of ranks (with the same threads a rank)."});
    field(&O::deepspeed, {.name = "deepspeed", .help = "DeepSpeed's JSON file: loss scale, clipping, sharding stage."});
    field(&O::resume_lora_training,
          {.name = "resume_lora_training",
           .help = "Go on training the last adapter given; false merges all and starts a new one."});
    field(&O::create_new_adapter,
          {.name = "create_new_adapter", .help = "The opposite of --resume_lora_training, under its later name."});
  }
};

// Options that 2023's command lines may hold and that change nothing here, or that are known and not built yet.
void add_accepted_training_options(OptionTable& table);

}  // namespace baichuan
