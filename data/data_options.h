// Flags about data: which rows, how they become ids, where the result is kept.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/options.h"

namespace baichuan {

struct DataOptions {
  std::string dataset;
  std::string dataset_dir = "data";
  std::string template_name = "default";
  std::string template_compat = "2023-08";
  std::string system_prompt;
  int64_t cutoff_len = 1024;
  std::optional<int64_t> max_source_length;
  std::optional<int64_t> max_target_length;
  bool train_on_prompt = false;
  double val_size = 0;
  std::optional<int64_t> max_samples;
  std::string on_bad_row = "error";
  std::string mix_strategy = "concat";
  bool overwrite_cache = false;
  std::optional<std::string> dataset_cache_dir;
  std::optional<int64_t> preprocessing_num_workers;
  bool ignore_pad_token_for_loss = true;
  std::string padding_side = "right";
  std::string split = "train";
  bool streaming = false;
  int64_t buffer_size = 16384;
  std::string interleave_probs;
  bool packing = false;
  bool neat_packing = false;
  std::string tokenized_path;

  // Whether rows are cut by --max_source_length and --max_target_length, as in 2023, and not by --cutoff_len.
  bool has_turn_limits() const { return max_source_length.has_value() || max_target_length.has_value(); }
  int64_t source_limit() const { return max_source_length.value_or(512); }
  int64_t target_limit() const { return max_target_length.value_or(512); }

  // Rules over several flags; throws UsageError.
  void validate() const;

  static void describe(auto&& field) {
    using O = DataOptions;
    field(&O::dataset, {.name = "dataset", .help = "Names in dataset_info.json or files, separated by commas."});
    field(&O::dataset_dir, {.name = "dataset_dir", .help = "Folder of dataset_info.json and the files that it names."});
    field(&O::template_name, {.name = "template",
                              .help = "Prompt format of a row.",
                              .aliases = "prompt_template",
                              .choices = "default|baichuan|vanilla"});
    field(&O::template_compat,
          {.name = "template_compat",
           .help = "2023-08 tokenises each piece of a template by itself, 2023-07 a turn's prompt as one string.",
           .choices = "2023-07|2023-08"});
    field(&O::system_prompt,
          {.name = "system_prompt",
           .help = "System text in place of the template's; one for all data sets, or one each, separated by |.",
           .aliases = "source_prefix,default_system"});
    field(&O::cutoff_len, {.name = "cutoff_len",
                           .help = "Longest row; a longer turn has prompt and answer cut in proportion.",
                           .unit = "tokens",
                           .range = {.min = 2, .max = 1 << 30}});
    field(&O::max_source_length, {.name = "max_source_length",
                                  .help = "Cut the prompt of each turn here, instead of --cutoff_len.",
                                  .unit = "tokens",
                                  .range = {.min = 1, .max = 1 << 29}});
    field(&O::max_target_length, {.name = "max_target_length",
                                  .help = "Cut the answer of each turn here, instead of --cutoff_len.",
                                  .unit = "tokens",
                                  .range = {.min = 1, .max = 1 << 29}});
    field(&O::train_on_prompt, {.name = "train_on_prompt", .help = "Learn the prompts too, not the answers alone."});
    field(&O::val_size, {.name = "val_size",
                         .help = "Rows kept for evaluation: a share below 1, or a count.",
                         .range = {.min = 0},
                         .aliases = "dev_ratio"});
    field(
        &O::max_samples,
        {.name = "max_samples", .help = "Only the first rows of each data set.", .unit = "rows", .range = {.min = 1}});
    field(&O::on_bad_row,
          {.name = "on_bad_row",
           .help = "What a row that cannot be read does: stop with file, line and field, or be skipped and counted.",
           .choices = "error|skip"});
    describe_reading(field);
  }

 private:
  static void describe_reading(auto&& field) {
    using O = DataOptions;
    field(&O::mix_strategy, {.name = "mix_strategy",
                             .help = "How several data sets are joined: concat is one after the other.",
                             .choices = "concat|interleave_under|interleave_over"});
    field(&O::overwrite_cache, {.name = "overwrite_cache", .help = "Tokenise again although a cached result fits."});
    field(&O::dataset_cache_dir, {.name = "dataset_cache_dir",
                                  .help = "Folder of tokenised data sets; ~/.cache/baichuan/datasets unless given."});
    field(&O::preprocessing_num_workers, {.name = "preprocessing_num_workers",
                                          .help = "Threads that tokenise; all cores unless given.",
                                          .range = {.min = 1, .max = 1024}});
    field(&O::ignore_pad_token_for_loss, {.name = "ignore_pad_token_for_loss",
                                          .help = "Padding never enters the loss here.",
                                          .support = Support::kNoEffect});
    field(&O::padding_side, {.name = "padding_side",
                             .help = "Padding stands on the right always; the loss is the same.",
                             .choices = "left|right",
                             .support = Support::kNoEffect});
    field(&O::split,
          {.name = "split", .help = "Part of a hub data set; files have one.", .support = Support::kNoEffect});
    field(&O::streaming, {.name = "streaming", .help = "Tokenise while training.", .support = Support::kNotBuilt});
    field(&O::buffer_size,
          {.name = "buffer_size", .help = "Shuffle buffer of --streaming.", .support = Support::kNoEffect});
    field(&O::interleave_probs, {.name = "interleave_probs",
                                 .help = "Shares of interleaved data sets, separated by commas.",
                                 .support = Support::kNotBuilt});
    field(&O::packing, {.name = "packing",
                        .help = "Several rows in one sequence.",
                        .aliases = "sft_packing",
                        .support = Support::kNotBuilt});
    field(&O::neat_packing,
          {.name = "neat_packing", .help = "Packing without attention between rows.", .support = Support::kNotBuilt});
    field(&O::tokenized_path,
          {.name = "tokenized_path", .help = "A tokenised data set to load or save.", .support = Support::kNotBuilt});
  }
};

// With --compat 2023: the turn limits and the tokenising of July 2023, each unless a flag says otherwise.
void apply_compat_2023(DataOptions& options, const OptionTable& table);

// The names in --dataset, blanks trimmed; throws UsageError when there are none.
std::vector<std::string> dataset_names(const DataOptions& options);

}  // namespace baichuan
