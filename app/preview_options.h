// Options of `baichuan preview`: the data flags of `train`, and how much is shown.
#pragma once

#include <cstdint>
#include <string>

#include "app/command.h"
#include "app/model_options.h"
#include "data/data_options.h"

namespace baichuan {

struct PreviewOptions {
  int64_t rows = 2;
  bool json = false;
  std::string compat = "none";

  static void describe(auto&& field) {
    using O = PreviewOptions;
    field(&O::rows, {.name = "rows", .help = "Rows shown in full.", .range = {.min = 0, .max = 1e9}});
    field(&O::json, {.name = "json", .help = "One JSON object instead of text."});
    field(
        &O::compat,
        {.name = "compat", .help = "2023: the length limits and the tokenising of that year.", .choices = "none|2023"});
  }
};

struct PreviewCommandOptions : CommandOptions {
  ModelOptions model;
  DataOptions data;
  PreviewOptions preview;
  RunOptions run;

  void add_to(OptionTable& table) override;
  void validate(const OptionTable& table) override;
};

int run_preview(const PreviewCommandOptions& options, const OptionTable& table);

}  // namespace baichuan
