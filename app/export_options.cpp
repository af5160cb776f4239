#include "app/export_options.h"

#include "core/error.h"

namespace baichuan {

void ExportCommandOptions::add_to(OptionTable& table) {
  table.add("Model", model);
  table.add("Export", files);
  table.add("Compatibility", compatibility);
  table.add("Run", run);
}

void ExportCommandOptions::validate(const OptionTable& table) {
  (void)table;
  if (model.model_name_or_path.empty())
    throw UsageError("export needs --model_name_or_path; found none; give a model directory or a hub id");
  if (files.output_dir.empty())
    throw UsageError("export needs --output_dir; found none; give a directory for the merged model");
  if (files.fp16 && files.bf16) throw UsageError("--fp16 and --bf16 exclude each other; found both; give one of them");
  for (const auto& [given, name] : {std::pair{files.fp16, "fp16"}, std::pair{files.bf16, "bf16"}}) {
    if (!given) continue;
    if (model.dtype != "auto" && model.dtype != name)
      throw UsageError("--{} and --dtype {} contradict each other; give one of them", name, model.dtype);
    model.dtype = name;
  }
  if (files.export_legacy_format) files.format = "bin";
}

}  // namespace baichuan
