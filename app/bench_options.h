// Options of `baichuan bench train` and `baichuan bench decode`: the speed of the program itself on this machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/command.h"
#include "app/model_options.h"
#include "app/quantization_options.h"
#include "lora/lora_options.h"

namespace baichuan {

struct BenchReport {
  bool json = false;

  static void describe(auto&& field) {
    field(&BenchReport::json, {.name = "json", .help = "One JSON object on stdout instead of lines for people."});
  }
};

struct BenchTrainWork {
  std::string finetuning_type = "lora";
  std::int64_t per_device_train_batch_size = 4;
  std::int64_t cutoff_len = 256;
  std::int64_t steps = 5;
  std::int64_t discarded_steps = 1;
  bool fp16 = false;
  bool bf16 = false;
  std::optional<std::string> input;
  std::int64_t recompute_layers = 0;

  static void describe(auto&& field) {
    using O = BenchTrainWork;
    field(&O::finetuning_type, {.name = "finetuning_type", .help = "What is trained.", .choices = "lora|full"});
    field(&O::per_device_train_batch_size,
          {.name = "per_device_train_batch_size", .help = "Rows of a step.", .range = {.min = 1}});
    field(&O::cutoff_len,
          {.name = "cutoff_len", .help = "Length of every row.", .unit = "tokens", .range = {.min = 2}});
    field(&O::steps, {.name = "steps", .help = "Steps that are timed.", .range = {.min = 1}});
    field(&O::discarded_steps,
          {.name = "discarded_steps", .help = "Steps before them that are not.", .range = {.min = 0}});
    field(&O::fp16, {.name = "fp16", .help = "Compute in float16."});
    field(&O::bf16, {.name = "bf16", .help = "Compute in bfloat16."});
    field(
        &O::input,
        {.name = "input",
         .help =
             "JSON file with batches to take in turn: [{\"ids\": [[…]], \"labels\": [[…]]}, …]; random ids with every "
             "position labelled unless given."});
    field(&O::recompute_layers,
          {.name = "recompute_layers", .help = "Layers whose activations are computed again.", .range = {.min = 0}});
  }
};

struct BenchTrainCommandOptions : CommandOptions {
  ModelOptions model;
  RunOptions run;
  LoraOptions lora;
  BenchTrainWork work;
  BenchReport report;
  QuantizationOptions quantization;

  void add_to(OptionTable& table) override;
  void validate(const OptionTable& table) override;
};

int run_bench_train(const BenchTrainCommandOptions& options, const OptionTable& table);

struct BenchDecodeWork {
  std::int64_t prompt_tokens = 512;
  std::int64_t new_tokens = 128;

  static void describe(auto&& field) {
    using O = BenchDecodeWork;
    field(&O::prompt_tokens, {.name = "prompt_tokens", .help = "Tokens of the prompt.", .range = {.min = 1}});
    field(&O::new_tokens, {.name = "new_tokens", .help = "Tokens generated after it.", .range = {.min = 1}});
  }
};

struct BenchDecodeCommandOptions : CommandOptions {
  ModelOptions model;
  RunOptions run;
  BenchDecodeWork work;
  BenchReport report;
  QuantizationOptions quantization;

  void add_to(OptionTable& table) override;
  void validate(const OptionTable& table) override;
};

int run_bench_decode(const BenchDecodeCommandOptions& options, const OptionTable& table);

}  // namespace baichuan
