// Which model a command works on, and how it is loaded. Common to every command that needs a model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/options.h"

namespace baichuan {

struct ModelOptions {
  std::string model_name_or_path;
  std::optional<std::string> adapter_name_or_path;
  std::optional<std::string> cache_dir;
  std::string model_revision = "main";
  std::string device = "auto";
  std::string dtype = "auto";
  std::string alibi_mode = "exact";

  static void describe(auto&& field) {
    using O = ModelOptions;
    field(&O::model_name_or_path,
          {.name = "model_name_or_path", .help = "Model directory, or a hub id that is in a local cache."});
    field(&O::adapter_name_or_path, {.name = "adapter_name_or_path",
                                     .help = "LoRA adapter directories, separated by commas.",
                                     .aliases = "checkpoint_dir"});
    field(&O::cache_dir, {.name = "cache_dir", .help = "Folder in which hub ids are looked for first."});
    field(&O::model_revision, {.name = "model_revision", .help = "Revision of a hub id."});
    field(&O::device, {.name = "device", .help = "auto, cpu, cuda or cuda:N; auto takes the first GPU there is."});
    field(&O::dtype,
          {.name = "dtype",
           .help = "Type in which frozen weights are held; auto keeps the compute type, else the checkpoint's.",
           .choices = "auto|fp32|bf16|fp16"});
    field(&O::alibi_mode,
          {.name = "alibi_mode",
           .help = "exact: relative positions in float32; official: the arithmetic of the published classes.",
           .choices = "exact|official"});
  }
};

// Seed and verbosity: common to every command.
struct RunOptions {
  std::int64_t seed = 42;
  std::string log_level = "info";

  static void describe(auto&& field) {
    using O = RunOptions;
    field(&O::seed, {.name = "seed", .help = "Seed of every random draw.", .range = {.min = 0}});
    field(&O::log_level,
          {.name = "log_level", .help = "Least severe messages shown: debug, info, warning, error, off."});
  }
};

}  // namespace baichuan
