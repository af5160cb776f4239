// Options of `baichuan train`.
#pragma once

#include <optional>
#include <string>

#include "app/command.h"
#include "app/model_options.h"
#include "data/data_options.h"
#include "lora/lora_options.h"
#include "train/training_options.h"

namespace baichuan {

struct TrainCommandOptions : CommandOptions {
  ModelOptions model;
  RunOptions run;
  DataOptions data;
  LoraOptions lora;
  FinetuningOptions finetuning;
  OptimizationOptions optimization;
  LoggingOptions logging;
  LauncherOptions launcher;

  void add_to(OptionTable& table) override;
  void validate(const OptionTable& table) override;
};

int run_train(const TrainCommandOptions& options, const OptionTable& table);

}  // namespace baichuan
