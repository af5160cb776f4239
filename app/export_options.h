// Options of `baichuan export`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/command.h"
#include "app/model_options.h"

namespace baichuan {

struct ExportFileOptions {
  std::string output_dir;
  std::string max_shard_size = "2GB";
  std::string format = "safetensors";
  bool verify = false;
  bool fp16 = false;
  bool bf16 = false;
  bool export_legacy_format = false;

  static void describe(auto&& field) {
    using O = ExportFileOptions;
    field(&O::output_dir,
          {.name = "output_dir", .help = "Directory of the merged model; made if needed.", .aliases = "export_dir"});
    field(&O::max_shard_size, {.name = "max_shard_size",
                               .help = "Largest file of weights, such as 2GB, 500MB or 2GiB; a bare number counts GB.",
                               .aliases = "export_size"});
    field(&O::format, {.name = "format", .help = "Format of the weights.", .choices = "safetensors|bin"});
    field(&O::verify, {.name = "verify",
                       .help = "Load base with adapter and the merged model, and print the largest logit difference."});
    field(&O::fp16, {.name = "fp16", .help = "The same as --dtype fp16."});
    field(&O::bf16, {.name = "bf16", .help = "The same as --dtype bf16."});
    field(&O::export_legacy_format, {.name = "export_legacy_format", .help = "The same as --format bin."});
  }
};

// What command lines made for other tools hold: the adapter's own file rules, and no data is read.
struct ExportCompatibilityOptions {
  std::optional<std::string> stage, finetuning_type, template_name, dataset, dataset_dir, lora_target, export_device;
  std::optional<std::int64_t> lora_rank, cutoff_len, max_source_length, max_target_length;
  std::optional<double> lora_alpha, lora_dropout;
  std::optional<bool> overwrite_output_dir, overwrite_cache, trust_remote_code, use_fast_tokenizer;
  std::optional<std::int64_t> quantization_bit, export_quantization_bit;
  std::optional<std::string> export_quantization_dataset, export_hub_model_id;

  static void describe(auto&& field) {
    using O = ExportCompatibilityOptions;
    constexpr auto kNone = Support::kNoEffect;
    constexpr auto kLater = Support::kNotBuilt;
    field(&O::stage, {.name = "stage", .help = "Stage of the training.", .support = kNone});
    field(&O::finetuning_type, {.name = "finetuning_type", .help = "What was trained.", .support = kNone});
    field(&O::template_name,
          {.name = "template", .help = "Template of the training.", .aliases = "prompt_template", .support = kNone});
    field(&O::dataset, {.name = "dataset", .help = "Data of the training.", .support = kNone});
    field(&O::dataset_dir, {.name = "dataset_dir", .help = "Folder of the data.", .support = kNone});
    field(&O::lora_target, {.name = "lora_target", .help = "Stands in adapter_config.json.", .support = kNone});
    field(&O::lora_rank, {.name = "lora_rank", .help = "Stands in adapter_config.json.", .support = kNone});
    field(&O::lora_alpha, {.name = "lora_alpha", .help = "Stands in adapter_config.json.", .support = kNone});
    field(&O::lora_dropout, {.name = "lora_dropout", .help = "Stands in adapter_config.json.", .support = kNone});
    field(&O::cutoff_len, {.name = "cutoff_len", .help = "Length of training rows.", .support = kNone});
    field(&O::max_source_length, {.name = "max_source_length", .help = "Length of prompts.", .support = kNone});
    field(&O::max_target_length, {.name = "max_target_length", .help = "Length of answers.", .support = kNone});
    field(&O::export_device, {.name = "export_device", .help = "The merge always runs on the CPU.", .support = kNone});
    field(&O::overwrite_output_dir,
          {.name = "overwrite_output_dir", .help = "An export always replaces an earlier one.", .support = kNone});
    field(&O::overwrite_cache, {.name = "overwrite_cache", .help = "No data is read.", .support = kNone});
    field(&O::trust_remote_code, {.name = "trust_remote_code", .help = "No remote code is run.", .support = kNone});
    field(&O::use_fast_tokenizer, {.name = "use_fast_tokenizer", .help = "There is one tokenizer.", .support = kNone});
    field(&O::quantization_bit,
          {.name = "quantization_bit", .help = "Quantised weights cannot be merged into.", .support = kLater});
    field(&O::export_quantization_bit,
          {.name = "export_quantization_bit", .help = "Quantise the merged model.", .support = kLater});
    field(&O::export_quantization_dataset,
          {.name = "export_quantization_dataset", .help = "Data to calibrate with.", .support = kLater});
    field(&O::export_hub_model_id, {.name = "export_hub_model_id", .help = "Upload the model.", .support = kLater});
  }
};

struct ExportCommandOptions : CommandOptions {
  ModelOptions model;
  ExportFileOptions files;
  ExportCompatibilityOptions compatibility;
  RunOptions run;

  void add_to(OptionTable& table) override;
  void validate(const OptionTable& table) override;
};

int run_export(const ExportCommandOptions& options, const OptionTable& table);

}  // namespace baichuan
