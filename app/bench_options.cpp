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
  table.add("Quantization", quantization);
  table.add("Run", run);
}

void BenchTrainCommandOptions::validate(const OptionTable&) {
  require_model(model);
  if (work.fp16 && work.bf16) throw UsageError("--fp16 and --bf16 exclude each other; give one compute type");
  if (model.adapter_name_or_path && work.finetuning_type != "lora")
    throw UsageError("--adapter_name_or_path goes with --finetuning_type lora; found {}; leave it out",
                     work.finetuning_type);
  for (const auto& [given, other] : {std::pair{work.fp16, "bf16"}, std::pair{work.bf16, "fp16"}})
    if (given && model.dtype == other)
      throw UsageError("--{} cannot compute with --dtype {}; give one 16-bit type", work.fp16 ? "fp16" : "bf16", other);
}

void BenchDecodeCommandOptions::add_to(OptionTable& table) {
  table.add("Work", work);
  table.add("Report", report);
  table.add("Model", model);
  table.add("Quantization", quantization);
  table.add("Run", run);
}

void BenchDecodeCommandOptions::validate(const OptionTable&) {
  require_model(model);
}

}  // namespace baichuan
