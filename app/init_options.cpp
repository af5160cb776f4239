#include "app/init_options.h"

#include "core/error.h"

namespace baichuan {

void InitCommandOptions::add_to(OptionTable& table) {
  table.add("Model", files);
  table.add("Run", run);
}

void InitCommandOptions::validate(const OptionTable& table) {
  (void)table;
  if (files.preset.has_value() == files.config.has_value())
    throw UsageError("init needs either --preset or --config; found {}; give one of them",
                     files.preset ? "both" : "neither");
  if (files.output_dir.empty())
    throw UsageError("init needs --output_dir; found none; give a directory for the new model");
  if (files.preset == "tiny" && !files.tokenizer)
    throw UsageError("--preset tiny needs --tokenizer, whose vocabulary it takes; found none; give a tokenizer.model");
}

}  // namespace baichuan
