// Options of `baichuan init`.
#pragma once

#include <optional>
#include <string>

#include "app/command.h"
#include "app/model_options.h"

namespace baichuan {

struct InitFileOptions {
  std::optional<std::string> preset, config, tokenizer;
  std::string output_dir;
  std::string dtype = "auto";
  std::string format = "safetensors";
  std::string max_shard_size = "2GB";
  bool overwrite_output_dir = false;

  static void describe(auto&& field) {
    using O = InitFileOptions;
    field(&O::preset, {.name = "preset",
                       .help = "Shape of the model; tiny takes its vocabulary from --tokenizer.",
                       .choices = "tiny|7b|13b|baichuan2-7b|baichuan2-13b"});
    field(&O::config, {.name = "config", .help = "A config.json with the shape, instead of --preset."});
    field(&O::tokenizer, {.name = "tokenizer", .help = "A tokenizer.model, or a model directory that holds one."});
    field(&O::output_dir, {.name = "output_dir", .help = "Directory of the new model; made if needed."});
    field(&O::dtype, {.name = "dtype",
                      .help = "Type of the weights; auto is bf16 for the published shapes, fp32 for tiny, and what "
                              "--config says.",
                      .choices = "auto|fp32|bf16|fp16"});
    field(&O::format, {.name = "format", .help = "Format of the weights.", .choices = "safetensors|bin"});
    field(&O::max_shard_size,
          {.name = "max_shard_size", .help = "Largest file of weights, such as 2GB, 500MB or 2GiB."});
    field(&O::overwrite_output_dir,
          {.name = "overwrite_output_dir", .help = "Replace the model that --output_dir holds."});
  }
};

struct InitCommandOptions : CommandOptions {
  InitFileOptions files;
  RunOptions run;

  void add_to(OptionTable& table) override;
  void validate(const OptionTable& table) override;
};

int run_init(const InitCommandOptions& options, const OptionTable& table);

}  // namespace baichuan
