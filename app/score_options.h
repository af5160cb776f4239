// Options of `baichuan score`.
#pragma once

#include <string>

#include "app/command.h"
#include "app/model_options.h"
#include "app/quantization_options.h"

namespace baichuan {

struct ScoreOptions {
  std::string input;
  std::string output = "-";

  static void describe(auto&& field) {
    using O = ScoreOptions;
    field(&O::input, {.name = "input", .help = "JSON lines {\"text\": ...} or {\"ids\": [...]}; - is standard input."});
    field(&O::output,
          {.name = "output",
           .help = "JSON lines with ids, logprobs (natural logarithm), nll (mean over the tokens after the first) and "
                   "perplexity; - is standard output."});
  }
};

struct ScoreCommandOptions : CommandOptions {
  ModelOptions model;
  ScoreOptions score;
  QuantizationOptions quantization;
  RunOptions run;

  void add_to(OptionTable& table) override;
  void validate(const OptionTable& table) override;
};

int run_score(const ScoreCommandOptions& options, const OptionTable& table);

}  // namespace baichuan
