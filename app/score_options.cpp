#include "app/score_options.h"

#include "core/error.h"

namespace baichuan {

void ScoreCommandOptions::add_to(OptionTable& table) {
  table.add("Model", model);
  table.add("Score", score);
  table.add("Quantization", quantization);
  table.add("Run", run);
}

void ScoreCommandOptions::validate(const OptionTable& table) {
  (void)table;
  if (model.model_name_or_path.empty())
    throw UsageError("score needs --model_name_or_path; found none; give a model directory or a hub id");
  if (score.input.empty()) throw UsageError("score needs --input; found none; give a file of JSON lines, or -");
}

}  // namespace baichuan
