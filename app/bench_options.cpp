#include "app/bench_options.h"

#include "core/error.h"

namespace baichuan {

namespace {

void require_model(const ModelOptions& model) {
  if (model.model_name_or_path.empty())
    throw UsageError("--model_name_or_path is required: a model directory or a hub id");
}

}  // namespace

void BenchTrainCommandOptions::add_to(OptionTable& table) {
  table.add("Work", work);
  table.add("Report", report);
  table.add("Model", model);
  table.add("LoRA", lora);
  table.add("Run", run);
}

void BenchTrainCommandOptions::validate(const OptionTable&) {
  require_model(model);
  if (work.fp16 && work.bf16) throw UsageError("--fp16 and --bf16 exclude each other; give one compute type");
}

void BenchDecodeCommandOptions::add_to(OptionTable& table) {
  table.add("Work", work);
  table.add("Report", report);
  table.add("Model", model);
  table.add("Run", run);
}

void BenchDecodeCommandOptions::validate(const OptionTable&) {
  require_model(model);
}

}  // namespace baichuan
