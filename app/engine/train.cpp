// `baichuan train`: from options to a running Trainer.
#include <chrono>
#include <cstdio>

#include <unistd.h>

#include <torch/torch.h>

#include "app/engine/interrupt.h"
#include "app/report_error.h"
#include "app/train_options.h"
#include "app/training_shape.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/sft_dataset.h"
#include "data/tokenizer.h"
#include "distributed/connect.h"
#include "distributed/rank_environment.h"
#include "io/checkpoint_reader.h"
#include "kernels/device.h"
#include "lora/adapter.h"
#include "model/load_weights.h"
#include "model/model_location.h"
#include "train/checkpoint_store.h"
#include "train/free_memory.h"
#include "train/memory_plan.h"
#include "train/memory_terms.h"
#include "train/shard_model.h"
#include "train/shared_disks.h"
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
TrainerOptions trainer_options(const TrainCommandOptions& o, const OptionTable& table, std::int64_t ranks) {
  TrainerOptions t;
  t.finetuning = o.finetuning;
  t.optimization = o.optimization;
  t.logging = o.logging;
  t.compat_2023 = o.finetuning.compat == "2023";
  t.seed = static_cast<std::uint64_t>(o.run.seed);
  t.max_grad_norm = o.optimization.max_grad_norm;
  t.deterministic_reduce = o.launcher.deterministic_reduce;
  const std::string fallback = t.compat_2023 ? "microbatch" : "token";
  t.normalization = o.finetuning.loss_normalization.value_or(fallback) == "token" ? LossNormalization::kToken
                                                                                  : LossNormalization::kMicroBatch;
  t.resolved_options = Json::parse(table.to_json().dump());
  if (!o.launcher.deepspeed) return t;
  t.deepspeed = load_deepspeed_config(*o.launcher.deepspeed, o.optimization, ranks);
  t.loss_scale = t.deepspeed->loss_scale;
  t.max_grad_norm = effective_max_grad_norm(*t.deepspeed, o.optimization, t.compat_2023, table.given("max_grad_norm"));
  return t;
}

std::map<std::string, at::ScalarType> stored_dtypes(const std::filesystem::path& directory,
                                                    std::optional<at::ScalarType> wanted) {
  std::map<std::string, at::ScalarType> dtypes;
  const auto reader = CheckpointReader::open(directory);
  for (const auto& spec : reader.tensors()) dtypes[spec.name] = wanted.value_or(spec.dtype);
  return dtypes;
}

std::shared_ptr<BaichuanForCausalLM> load_base(const TrainCommandOptions& o,
                                               const std::filesystem::path& directory,
                                               at::Device device) {
  const bool full = o.finetuning.finetuning_type == "full";
  const at::ScalarType compute = compute_dtype(o.optimization);
  LoadOptions load;
  load.device = device;
  if (compute == at::kHalf && load.device.is_cpu())
    log::warning("--fp16 is slow on a CPU; --bf16, or neither for float32, is faster there");
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
  if (o.finetuning.finetuning_type != "lora") return {};
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

void require_adapter_to_fit(const TrainCommandOptions& o) {
  if (o.model.adapter_name_or_path && o.finetuning.finetuning_type != "lora")
    throw UsageError(
        "--adapter_name_or_path goes with --finetuning_type lora; found {}; for full training give the "
        "checkpoint as --model_name_or_path",
        o.finetuning.finetuning_type);
}

fs::path plain_path(const fs::path& path) {
  const fs::path plain = fs::weakly_canonical(fs::absolute(path));
  return plain.has_filename() ? plain : plain.parent_path();
}

void require_another_directory(const LoggingOptions& logging, const fs::path& input, std::string_view whose) {
  if (plain_path(input) == plain_path(logging.output_dir))
    throw UsageError(
        "--output_dir must be another directory than the {}'s; found {} for both; the run would replace what it "
        "starts from",
        whose, logging.output_dir);
}

// --overwrite_output_dir removes every checkpoint of the directory: not the one that the run starts from.
void require_kept(const LoggingOptions& logging, const fs::path& input, std::string_view whose) {
  const fs::path plain = plain_path(input);
  const bool removed =
      plain.parent_path() == plain_path(logging.output_dir) && plain.filename().string().starts_with("checkpoint-");
  if (logging.overwrite_output_dir && removed)
    throw UsageError(
        "--overwrite_output_dir removes the checkpoints in --output_dir; the {}'s directory {} is one of them; choose "
        "another --output_dir",
        whose, input.string());
}

void require_writable(const fs::path& directory) {
  try {
    AtomicFile(directory / "write_test");  // gone at once
  } catch (const MachineError& error) {
    throw MachineError("--output_dir {} must be writable; {}; choose another", directory.string(), error.what());
  }
}

// Says what is wrong with the output directory, and with the checkpoint to resume from, before rows are tokenised and
// weights are loaded. Returns the verified checkpoint.
std::optional<fs::path> prepare_output_directory(const TrainCommandOptions& o, const fs::path& model_directory) {
  const LoggingOptions& logging = o.logging;
  if (o.finetuning.do_train) {
    if (o.finetuning.finetuning_type == "full") require_another_directory(logging, model_directory, "model");
    require_kept(logging, model_directory, "model");
    const auto adapters =
        o.model.adapter_name_or_path ? split_adapter_list(*o.model.adapter_name_or_path) : std::vector<fs::path>();
    for (const auto& adapter : adapters) {
      require_another_directory(logging, adapter, "adapter");
      require_kept(logging, adapter, "adapter");
    }
    require_startable(logging);
  }
  const CheckpointStore store(logging.output_dir);  // makes it, and asks whether another run holds it
  require_writable(logging.output_dir);
  if (!o.finetuning.do_train || !resumes(logging)) return {};
  return resolve_resume_checkpoint(logging.output_dir, *logging.resume_from_checkpoint);
}

std::int64_t longest_row(const SftDataset& rows) {
  std::int64_t longest = 1;
  for (std::int64_t i = 0; i < rows.size(); ++i) longest = std::max(longest, rows.length(i));
  return longest;
}

void require_evaluation_rows(const TrainCommandOptions& o, std::int64_t rows) {
  const std::string& strategy = o.logging.evaluation_strategy;
  if (rows > 0 || (strategy == "no" && !o.finetuning.do_eval)) return;
  const std::string asked = strategy == "no" ? "--do_eval" : "--evaluation_strategy " + strategy;
  throw UsageError("{} needs rows to evaluate; found none; give --val_size, such as 0.01", asked);
}

// A rank that hangs is named by the others, which then end.
[[noreturn]] void end_stalled_run(const std::string& message) {
  ::_exit(report_error(MachineError("{}", message)));
}

std::unique_ptr<ProcessGroup> connect_ranks(const TrainCommandOptions& o,
                                            const RankEnvironment& environment,
                                            at::Device device) {
  ConnectOptions options;
  options.device = device;
  options.timeout = std::chrono::seconds(o.launcher.ddp_timeout);
  options.on_stall = end_stalled_run;
  return connect(environment, options);
}

std::string device_of_rank(const std::string& wanted, const RankEnvironment& environment) {
  const bool any_gpu = wanted == "cuda" || (wanted == "auto" && cuda_problem(probe_cuda()).empty());
  return environment.distributed() && any_gpu ? fmt::format("cuda:{}", environment.local_rank) : wanted;
}

// Where ranks of several machines have disks of their own, they go on from one checkpoint all the same.
void require_same_checkpoint(const std::vector<std::string>& checkpoints, const SharedDisks& disks) {
  for (std::size_t rank = 0; rank < checkpoints.size(); ++rank) {
    if (!disks.keeps(static_cast<std::int64_t>(rank)) || checkpoints[rank] == checkpoints.front()) continue;
    throw CheckpointError(
        "expected {} on every machine's disk; found {} on that of rank {}; give --resume_from_checkpoint a checkpoint "
        "that all of them hold",
        checkpoints.front(), checkpoints[rank].empty() ? "none" : checkpoints[rank], rank);
  }
}

// Who keeps an output directory looks at it; all hear of the verified checkpoint to go on from, if there is one.
std::optional<std::string> decide_start(TrainCommandOptions& o,
                                        const fs::path& model_directory,
                                        const RankEnvironment& environment,
                                        ProcessGroup& group,
                                        const SharedDisks& disks) {
  if (environment.restart_count > 0)
    apply_restart(o.logging, environment.restart_count, o.launcher.max_restarts,
                  newest_common_checkpoint(group, disks, o.logging.output_dir));
  std::string checkpoint;
  if (disks.keeps(environment.rank)) {
    const AtWork at_work(group, "looking at the output directory");
    checkpoint = prepare_output_directory(o, model_directory).value_or(fs::path()).string();
  }
  const auto checkpoints = group.gather_texts(checkpoint, "the verified output directory");
  require_same_checkpoint(checkpoints, disks);
  checkpoint = checkpoints.front();
  if (checkpoint.empty()) return {};
  return checkpoint;
}

// One rank a machine tokenises, while the others wait on the store and not in a collective; then all map its cache.
SftSplits prepare_rows(const TrainCommandOptions& o,
                       const Tokenizer& tokenizer,
                       const RankEnvironment& environment,
                       ProcessGroup& group) {
  const auto seed = static_cast<std::uint64_t>(o.run.seed);
  std::optional<SftSplits> rows;
  if (environment.local_rank == 0) {
    const AtWork at_work(group, "preparing the data");
    rows = prepare_sft(o.data, tokenizer, seed);
  }
  group.gather_texts("prepared", "the prepared data");
  if (rows) return std::move(*rows);
  DataOptions ready = o.data;
  ready.overwrite_cache = false;  // it has been made anew
  return prepare_sft(ready, tokenizer, seed);
}

at::ScalarType scalar_type(DeepSpeedDtype dtype) {
  if (dtype == DeepSpeedDtype::kFloat32) return at::kFloat;
  return dtype == DeepSpeedDtype::kFloat16 ? at::kHalf : at::kBFloat16;
}

// Units travel whole: a parameter is never cut in two.
void warn_of_small_buckets(const DeepSpeedConfig& deepspeed, const ShardedParameters& sharded) {
  const std::int64_t unit = sharded.largest_unit_elements();
  const auto warn = [&](const char* key, std::int64_t elements) {
    if (elements < unit)
      log::warning("{}: '{}' {} is smaller than a layer, the embedding or the head: up to {} elements travel at a time",
                   deepspeed.origin, key, elements, unit);
  };
  if (deepspeed.reduce_bucket_elements) warn("zero_optimization.reduce_bucket_size", *deepspeed.reduce_bucket_elements);
  warn("zero_optimization.allgather_bucket_size", deepspeed.allgather_bucket_elements);
}

// Null where one rank holds whole parameters.
std::unique_ptr<ShardedParameters> divide_parameters(const TrainCommandOptions& o,
                                                     const TrainerOptions& trainer,
                                                     BaichuanForCausalLM& model,
                                                     TrainedWeights& weights,
                                                     ProcessGroup& group) {
  const Sharding divided = sharding_of(o, trainer.deepspeed, group.size());
  if (!o.finetuning.do_train || divided == Sharding::kPlain) return nullptr;
  ShardingOptions sharding;
  sharding.stage = static_cast<std::int64_t>(divided);
  sharding.every_micro_batch = o.launcher.deterministic_reduce || sharding.stage == 2;
  log::info("{} ranks, ZeRO stage {}: {}", group.size(), sharding.stage,
            sharding.every_micro_batch ? "gradients are reduced after every micro-batch"
                                       : "gradients are reduced once a step");
  if (trainer.deepspeed && trainer.deepspeed->communication_dtype)
    sharding.wire_type = scalar_type(*trainer.deepspeed->communication_dtype);
  auto sharded = shard_model(model, weights.parameters(), group, sharding);
  if (trainer.deepspeed && !group.is_solo()) warn_of_small_buckets(*trainer.deepspeed, *sharded);
  return sharded;
}

// --recompute_layers auto: as few as the plan says, of the memory that is free now and what the weights hold already.
std::int64_t choose_recomputed_layers(const TrainCommandOptions& o,
                                      const TrainerOptions& trainer,
                                      const RankEnvironment& environment,
                                      const BaichuanForCausalLM& model,
                                      std::int64_t longest) {
  const auto stored = static_cast<std::int64_t>(model.lm_head->weight.element_size());
  RunShape shape = training_shape(o, trainer.deepspeed, model.config(), stored, environment.world_size);
  shape.longest = longest;
  shape.on_gpu = model.device().is_cuda();
  // Ranks on the CPUs of one machine share its memory; a tenth is left for what the plan does not see.
  const std::int64_t sharers = shape.on_gpu ? 1 : environment.local_world_size;
  const std::int64_t free_now = free_memory_bytes(model.device()) / 10 * 9 / sharers;
  const std::int64_t layers =
      recomputed_layers(o.finetuning.recompute_layers, trainer.compat_2023, shape, free_now + weight_bytes(shape));
  if (layers > 0)
    log::info("activations of {} of {} layers are computed again in the backward pass", layers,
              model.config().num_layers);
  return layers;
}

}  // namespace

int run_train(const TrainCommandOptions& options, const OptionTable& table) {
  TrainCommandOptions o = options;
  log::set_level(log::parse_level(o.run.log_level));
  const RankEnvironment environment = read_rank_environment(o.launcher.local_rank);
  const bool leads = environment.rank == 0;
  if (!leads && !table.given("log_level")) log::set_level(log::Level::kWarning);
  require_adapter_to_fit(o);
  TrainerOptions trainer = trainer_options(o, table, environment.world_size);
  if (trainer.compat_2023) apply_compat_2023(o.data, table);
  o.data.validate();

  const auto directory = resolve_model_directory(o.model.model_name_or_path, o.model.cache_dir, o.model.model_revision);
  const at::Device device = select_device(device_of_rank(o.model.device, environment));
  const auto group = connect_ranks(o, environment, device);
  install_interrupt_handlers();  // not before: nothing looks at a signal while ranks wait for one another
  const SharedDisks disks = SharedDisks::find(*group, o.logging.output_dir);
  if (leads && disks.count() > 1)
    log::info(
        "machines with {} disks of their own: each keeps checkpoints of its ranks; the final model is on that of "
        "rank 0",
        disks.count());
  trainer.logging.resume_from_checkpoint = decide_start(o, directory, environment, *group, disks);
  const Tokenizer tokenizer(directory);
  const SftSplits rows = prepare_rows(o, tokenizer, environment, *group);
  require_evaluation_rows(o, rows.eval.size());
  trainer.data_fingerprint = rows.fingerprint;
  log::info("first training row:\n{}", describe_example(tokenizer, rows.train.example(0)));
  if (!environment.distributed() && interrupt_signal() != 0) return interrupt_exit_status(interrupt_signal());

  std::optional<AtWork> loading(std::in_place, *group, "loading the model");
  const auto model = load_base(o, directory, device);
  auto adapter = attach_adapter(o, table, *model);
  loading.reset();
  group->gather_texts("loaded", "the loaded model");  // only then is the free memory what is left for all
  model->set_recompute_layers(choose_recomputed_layers(o, trainer, environment, *model, longest_row(rows.train)));
  const auto dtype = parse_dtype(o.model.dtype);
  const auto weights = adapter ? make_adapter_weights(*adapter, o.model.model_name_or_path)
                               : make_model_weights(*model, directory, stored_dtypes(directory, dtype));
  const auto sharded = divide_parameters(o, trainer, *model, *weights, *group);
  ProgressBar progress = make_progress_bar();
  TrainerHooks hooks;
  hooks.interrupt_signal = [] { return interrupt_signal().load(); };
  if (leads) hooks.progress = &progress;
  TrainerInputs inputs{
      *model, adapter ? &*adapter : nullptr, *weights, rows.train, rows.eval.size() > 0 ? &rows.eval : nullptr, {}};
  // Masters start from the stored weights, not from what a 16-bit compute type made of them.
  if (!adapter && compute_dtype(o.optimization) != at::kFloat) inputs.exact_weights = directory;
  inputs.group = group.get();
  inputs.sharded = sharded.get();
  inputs.local_ranks = environment.local_world_size;
  inputs.disks = disks;
  trainer.resumed_is_verified = true;
  Trainer run(inputs, trainer, hooks);
  const int signal = o.finetuning.do_train ? run.train() : run.evaluate_only();
  group->leave();
  return signal == 0 ? 0 : interrupt_exit_status(signal);
}

}  // namespace baichuan
