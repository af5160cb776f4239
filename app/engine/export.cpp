// `baichuan export`: an adapter merged into its base, or a checkpoint converted; written as a Hugging Face directory.
#include "lora/export.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <torch/torch.h>

#include "app/assemble_model.h"
#include "app/engine/interrupt.h"
#include "app/engine/terminal.h"
#include "app/engine/write_progress.h"
#include "app/export_options.h"
#include "core/error.h"
#include "core/log.h"
#include "core/parse_size.h"
#include "kernels/device.h"
#include "model/load_weights.h"
#include "model/model_location.h"

namespace baichuan {

namespace {

// "5", as --export_size has it, is 5 GB; nobody means a file of 5 bytes.
std::int64_t shard_bytes(const std::string& text) {
  const bool bare =
      !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
  return parse_size(bare && text.size() <= 4 ? text + "GB" : text);
}

// The same ids on every machine: 4 rows of 64, spread over the vocabulary.
at::Tensor probe_ids(const BaichuanConfig& config) {
  constexpr std::int64_t kRows = 4;
  const std::int64_t length = std::min<std::int64_t>(64, config.max_positions);
  const at::Tensor numbers = torch::arange(kRows * length, torch::kInt64) * 7919 + 104729;
  return numbers.remainder(config.vocab_size).reshape({kRows, length});
}

// In float32, whatever the weights are stored in: what remains is the rounding of the merged weights.
at::Tensor probe_logits(const ModelOptions& options) {
  const at::NoGradGuard no_grad;
  const AssembledModel assembled = assemble_model(options);
  assembled.model->set_compute_dtype(torch::kFloat32);
  const at::Tensor ids = probe_ids(assembled.config).to(assembled.device);
  return assembled.model->logits(assembled.model->hidden_states(ids)).to(torch::kFloat32).cpu();
}

// One model at a time in memory.
void verify(ModelOptions before, const fs::path& output) {
  log::info("verify: base and adapter");
  before.dtype = "auto";
  const at::Tensor expected = probe_logits(before);
  log::info("verify: merged model");
  ModelOptions after = before;
  after.model_name_or_path = output.string();
  after.adapter_name_or_path.reset();
  const at::Tensor found = probe_logits(after);
  if (!found.isfinite().all().item<bool>())
    throw CheckpointError(
        "{}: expected finite logits of the merged model; found infinity or NaN; look at the adapter's training",
        output.string());
  const double difference = (found - expected).abs().max().item<double>();
  const auto agreeing = found.argmax(-1).eq(expected.argmax(-1)).sum().item<std::int64_t>();
  write_output(fmt::format(
      "largest logit difference {:.3g} (logits up to {:.3g}; the likeliest token agrees at {} of {} positions)\n",
      difference, expected.abs().max().item<double>(), agreeing, expected.numel() / expected.size(-1)));
}

// What full fine-tuning leaves is a model, not an adapter, though old command lines name it the same way.
bool is_whole_model(const fs::path& directory) {
  return !fs::exists(directory / "adapter_config.json") && fs::exists(directory / "config.json");
}

ModelOptions resolved(ModelOptions model) {
  model.model_name_or_path =
      resolve_model_directory(model.model_name_or_path, model.cache_dir, model.model_revision).string();
  if (model.adapter_name_or_path && is_whole_model(*model.adapter_name_or_path)) {
    log::info("{} is a whole model: it is exported as it is", *model.adapter_name_or_path);
    model.model_name_or_path = *model.adapter_name_or_path;
    model.adapter_name_or_path.reset();
  }
  return model;
}

}  // namespace

int run_export(const ExportCommandOptions& options, const OptionTable& table) {
  (void)table;
  log::set_level(log::parse_level(options.run.log_level));
  const ModelOptions model = resolved(options.model);
  ExportOptions job;
  job.model_directory = model.model_name_or_path;
  if (model.adapter_name_or_path) job.adapters = split_adapter_list(*model.adapter_name_or_path);
  job.output_directory = options.files.output_dir;
  job.dtype = parse_dtype(model.dtype);
  job.writing.max_shard_bytes = shard_bytes(options.files.max_shard_size);
  job.writing.format = options.files.format == "bin" ? CheckpointFormat::kBin : CheckpointFormat::kSafetensors;

  install_interrupt_handlers();
  const auto start = std::chrono::steady_clock::now();
  job.on_progress = make_write_progress();
  const ExportReport report = export_merged(job);
  if (!report.complete) return interrupt_exit_status(interrupt_signal());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  log::info("{}: {} tensors, {} of them merged, {:.2f} GB in {:.1f} s", options.files.output_dir, report.tensors,
            report.merged, static_cast<double>(report.bytes) * 1e-9, seconds);
  if (options.files.verify) verify(model, job.output_directory);
  return 0;
}

}  // namespace baichuan
