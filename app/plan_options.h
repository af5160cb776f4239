// Options of `baichuan plan`: all those of `train`, and which device the run is for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/train_options.h"

namespace baichuan {

struct PlanOptions {
  std::optional<std::string> gpu;
  std::optional<std::string> gpu_memory;
  bool json = false;

  static void describe(auto&& field) {
    using O = PlanOptions;
    field(&O::gpu, {.name = "gpu",
                    .help = "Device that each rank has; cpu: this machine's processors and memory. Unless given, "
                            "a100-80gb for several GPUs and cpu for --num_processes and --device cpu.",
                    .choices = "a100-40gb|a100-80gb|h100|h200|cpu"});
    field(&O::gpu_memory, {.name = "gpu_memory",
                           .help = "Memory of a rank's device in place of the kind's own, such as 80GB or 79.2GiB."});
    field(&O::json, {.name = "json", .help = "One JSON object instead of text."});
  }
};

struct PlanCommandOptions : CommandOptions {
  PlanOptions plan;
  TrainCommandOptions train;

  void add_to(OptionTable& table) override;
  void validate(const OptionTable& table) override;
};

int run_plan(const PlanCommandOptions& options, const OptionTable& table);

}  // namespace baichuan
