// `baichuan train`: from options to a running Trainer.
#include <cstdio>

#include <unistd.h>

#include <torch/torch.h>

#include "app/engine/interrupt.h"
#include "app/train_options.h"
#include "core/error.h"
#include "core/log.h"
#include "data/sft_dataset.h"
#include "data/tokenizer.h"
#include "distributed/rank_environment.h"
#include "io/checkpoint_reader.h"
#include "kernels/device.h"
#include "lora/adapter.h"
#include "model/load_weights.h"
#include "model/model_location.h"
#include "train/deepspeed_config.h"
#include "train/recompute_policy.h"
#include "train/start_or_resume.h"
#include "train/trained_weights.h"
#include "train/trainer.h"

namespace baichuan {

namespace {

at::ScalarType compute_dtype(const OptimizationOptions& options) {
  if (options.fp16) return at::kHalf;
  return options.bf16 ? at::kBFloat16 : at::kFloat;
}

// --loss_normalization, --max_grad_norm and the loss scale, as compat, flags and a DeepSpeed file together say.
TrainerOptions trainer_options(const TrainCommandOptions& o, const OptionTable& table) {
  TrainerOptions t;
  t.finetuning = o.finetuning;
  t.optimization = o.optimization;
  t.logging = o.logging;
  t.compat_2023 = o.finetuning.compat == "2023";
  t.seed = static_cast<std::uint64_t>(o.run.seed);
  t.max_grad_norm = o.optimization.max_grad_norm;
  const std::string fallback = t.compat_2023 ? "microbatch" : "token";
  t.normalization = o.finetuning.loss_normalization.value_or(fallback) == "token" ? LossNormalization::kToken
                                                                                  : LossNormalization::kMicroBatch;
  t.resolved_options = Json::parse(table.to_json().dump());
  if (!o.launcher.deepspeed) return t;
  const auto deepspeed = load_deepspeed_config(*o.launcher.deepspeed, o.optimization, /*num_processes=*/1);
  if (deepspeed.loss_scale.deepspeed_rule) t.loss_scale = deepspeed.loss_scale;
  const bool clips = deepspeed.gradient_clipping.has_value();
  if (t.compat_2023 && !clips && !table.given("max_grad_norm")) {
    t.max_grad_norm = 0;
    log::warning("{} has no gradient_clipping: the stack of 2023 did not clip then, and neither does this run",
                 *o.launcher.deepspeed);
  } else if (!clips) {
    log::info("{} has no gradient_clipping: --max_grad_norm {} holds", *o.launcher.deepspeed, t.max_grad_norm);
  }
  return t;
}

std::map<std::string, at::ScalarType> stored_dtypes(const std::filesystem::path& directory,
                                                    std::optional<at::ScalarType> wanted) {
  std::map<std::string, at::ScalarType> dtypes;
  const auto reader = CheckpointReader::open(directory);
  for (const auto& spec : reader.tensors()) dtypes[spec.name] = wanted.value_or(spec.dtype);
  return dtypes;
}

std::shared_ptr<BaichuanForCausalLM> load_base(const TrainCommandOptions& o, const std::filesystem::path& directory) {
  const bool full = o.finetuning.finetuning_type == "full";
  const at::ScalarType compute = compute_dtype(o.optimization);
  LoadOptions load;
  load.device = select_device(o.model.device);
  load.dtype = parse_dtype(o.model.dtype);
  const bool mixed = o.optimization.fp16 || o.optimization.bf16;
  if (full || (!load.dtype && mixed)) load.dtype = compute;
  auto model = load_model(directory, load);
  model->set_compute_dtype(compute);
  model->set_alibi_mode(o.model.alibi_mode == "official" ? AlibiMode::kOfficial : AlibiMode::kExact);
  for (auto& parameter : model->parameters()) parameter.requires_grad_(full && o.finetuning.do_train);
  return model;
}

std::optional<LoraAdapter> attach_adapter(const TrainCommandOptions& o,
                                          const OptionTable& table,
                                          BaichuanForCausalLM& model) {
  const auto seed = static_cast<std::uint64_t>(o.run.seed);
  if (o.finetuning.finetuning_type != "lora") {
    if (o.model.adapter_name_or_path)
      throw UsageError(
          "--adapter_name_or_path goes with --finetuning_type lora; found {}; for full training give the "
          "checkpoint as --model_name_or_path",
          o.finetuning.finetuning_type);
    return {};
  }
  if (!o.model.adapter_name_or_path) return LoraAdapter::attach(model, o.lora, seed);
  const auto directories = split_adapter_list(*o.model.adapter_name_or_path);
  const auto dropout = table.given("lora_dropout") ? std::optional(o.lora.lora_dropout) : std::nullopt;
  if (o.launcher.resume_lora_training) return LoraAdapter::load_all(model, directories, dropout);
  for (const auto& directory : directories) merge_adapter(model, directory);
  return LoraAdapter::attach(model, o.lora, seed);
}

ProgressBar make_progress_bar() {
  const auto sink = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  };
  ProgressBar::Options options;
  options.on_terminal = ::isatty(STDERR_FILENO) == 1;
  options.columns = [] { return terminal_columns(STDERR_FILENO); };
  return ProgressBar(sink, options);
}

std::int64_t longest_row(const SftDataset& rows) {
  std::int64_t longest = 1;
  for (std::int64_t i = 0; i < rows.size(); ++i) longest = std::max(longest, rows.length(i));
  return longest;
}

void require_evaluation_rows(const TrainCommandOptions& o, std::int64_t rows) {
  if (rows == 0 && (o.logging.evaluation_strategy != "no" || o.finetuning.do_eval))
    throw UsageError("--evaluation_strategy {} needs rows to evaluate; found none; give --val_size, such as 0.01",
                     o.logging.evaluation_strategy);
}

}  // namespace

int run_train(const TrainCommandOptions& options, const OptionTable& table) {
  TrainCommandOptions o = options;
  log::set_level(log::parse_level(o.run.log_level));
  install_interrupt_handlers();
  const RankEnvironment ranks = read_rank_environment(o.launcher.local_rank);
  if (ranks.distributed())
    throw UsageError("training with several ranks is known but not built yet; found {} of {}; start one process",
                     ranks.world_size, launcher_name(ranks.launcher));
  apply_restart(o.logging, ranks.restart_count, o.launcher.max_restarts);
  if (o.finetuning.do_train) require_startable(o.logging);
  TrainerOptions trainer = trainer_options(o, table);
  if (trainer.compat_2023) apply_compat_2023(o.data, table);
  o.data.validate();

  const auto directory =
      resolve_model_directory(o.model.model_name_or_path, o.model.cache_dir.value_or(""), o.model.model_revision);
  const Tokenizer tokenizer(directory);
  const SftSplits rows = prepare_sft(o.data, tokenizer, trainer.seed);
  require_evaluation_rows(o, rows.eval.size());
  trainer.data_fingerprint = rows.fingerprint;
  log::info("first training row:\n{}", describe_example(tokenizer, rows.train.example(0)));
  if (interrupt_signal() != 0) return interrupt_exit_status(interrupt_signal());

  const auto model = load_base(o, directory);
  auto adapter = attach_adapter(o, table, *model);
  model->set_recompute_layers(recompute_layers(o.finetuning.recompute_layers, trainer.compat_2023, *model,
                                               o.optimization.per_device_train_batch_size, longest_row(rows.train)));
  const auto dtype = parse_dtype(o.model.dtype);
  const auto weights = adapter ? make_adapter_weights(*adapter, o.model.model_name_or_path)
                               : make_model_weights(*model, directory, stored_dtypes(directory, dtype));
  ProgressBar progress = make_progress_bar();
  TrainerHooks hooks;
  hooks.interrupt_signal = [] { return interrupt_signal().load(); };
  hooks.progress = &progress;
  TrainerInputs inputs{
      *model, adapter ? &*adapter : nullptr, *weights, rows.train, rows.eval.size() > 0 ? &rows.eval : nullptr, {}};
  // Masters start from the stored weights, not from what a 16-bit compute type made of them.
  if (!adapter && compute_dtype(o.optimization) != at::kFloat) inputs.exact_weights = directory;
  std::filesystem::create_directories(o.logging.output_dir);
  Trainer run(inputs, trainer, hooks);
  if (!o.finetuning.do_train) {
    run.evaluate_only();
    return 0;
  }
  const int signal = run.train();
  return signal == 0 ? 0 : interrupt_exit_status(signal);
}

}  // namespace baichuan
