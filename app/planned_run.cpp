#include "app/planned_run.h"

#include <array>
#include <filesystem>

#include "app/training_shape.h"
#include "core/error.h"
#include "core/json.h"
#include "core/parse_size.h"
#include "data/tokenizer.h"
#include "model/model_location.h"
#include "train/deepspeed_config.h"
#include "train/memory_plan.h"

namespace baichuan {

namespace {

constexpr std::int64_t kMostRanks = 1 << 20;

struct PlannedModel {
  BaichuanConfig config;
  std::optional<std::filesystem::path> directory;
  std::int64_t stored_bytes = 2;  // of an element on disk
};

// Published models whose shape is known without their files.
std::optional<std::string_view> preset_of_hub_id(std::string_view id) {
  static constexpr auto kPublished = std::to_array<std::pair<std::string_view, std::string_view>>({
      {"baichuan-inc/Baichuan-7B", "7b"},
      {"baichuan-inc/Baichuan-13B-Base", "13b"},
      {"baichuan-inc/Baichuan-13B-Chat", "13b"},
      {"baichuan-inc/Baichuan2-7B-Base", "baichuan2-7b"},
      {"baichuan-inc/Baichuan2-7B-Chat", "baichuan2-7b"},
      {"baichuan-inc/Baichuan2-13B-Base", "baichuan2-13b"},
      {"baichuan-inc/Baichuan2-13B-Chat", "baichuan2-13b"},
  });
  for (const auto& [published, preset] : kPublished)
    if (published == id) return preset;
  return {};
}

// From the sizes of the weight files: the stored type counts, whatever config.json says. 0 without weight files.
std::int64_t stored_element_bytes(const std::filesystem::path& directory, const BaichuanConfig& config) {
  std::uintmax_t safetensors = 0;
  std::uintmax_t pickles = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    const std::string extension = entry.path().extension().string();
    if (extension == ".safetensors") safetensors += entry.file_size();
    if (extension == ".bin" && entry.path().filename().string().starts_with("pytorch_model"))
      pickles += entry.file_size();
  }
  const auto bytes = static_cast<double>(safetensors > 0 ? safetensors : pickles);
  if (bytes == 0) return 0;
  return bytes / static_cast<double>(config.num_parameters()) < 3 ? 2 : 4;
}

PlannedModel find_model(const ModelOptions& options, std::vector<std::string>& notes) {
  const std::string& name = options.model_name_or_path;
  PlannedModel model;
  try {
    model.directory = resolve_model_directory(name, options.cache_dir, options.model_revision);
  } catch (const MachineError&) {
    const auto preset = preset_of_hub_id(name);
    if (!preset) throw;
    model.config = preset_config(*preset);
    notes.push_back(fmt::format("{} is not downloaded: its published shape is assumed, stored in 16 bits", name));
    return model;
  }
  model.config = load_baichuan_config(*model.directory);
  const std::int64_t stored = stored_element_bytes(*model.directory, model.config);
  if (stored == 0) notes.push_back(fmt::format("{} holds no weights: 16 bits are assumed", model.directory->string()));
  model.stored_bytes = stored == 0 ? 2 : stored;
  return model;
}

std::int64_t ranks_of(const OptionTable& table) {
  for (const char* const name : {"num_gpus", "num_processes"}) {
    if (!table.given(name)) continue;
    const Json value = table.find(name)->get();
    const auto ranks = value.is_number_integer() ? value.get<std::int64_t>() : 1;
    if (ranks < 1 || ranks > kMostRanks)
      throw UsageError("--{} must be from 1 to {}; found {}", name, kMostRanks, ranks);
    return ranks;
  }
  return 1;
}

Accelerator choose_device(const PlanOptions& plan,
                          const TrainCommandOptions& o,
                          const OptionTable& table,
                          std::int64_t ranks,
                          std::vector<std::string>& notes) {
  const auto cpu = [&] { return this_machine(ranks, o.optimization.fp16); };
  if (plan.gpu) return *plan.gpu == "cpu" ? cpu() : *find_gpu(*plan.gpu);
  if (table.given("num_processes") || o.model.device == "cpu") return cpu();
  if (const Accelerator* const here = gpu_of_this_machine()) return *here;
  const Accelerator& usual = *find_gpu("a100-80gb");
  if (table.given("num_gpus") || plan.gpu_memory || o.model.device.starts_with("cuda")) {
    notes.push_back(fmt::format("no GPU was found here: {} is assumed; --gpu names another", usual.title));
    return usual;
  }
  notes.emplace_back("no GPU was found here: planned for this machine's processors; --gpu names a GPU");
  return cpu();
}

void apply_memory_limit(const PlanOptions& options, Accelerator& device) {
  if (!options.gpu_memory) return;
  try {
    device.memory_bytes = parse_size(*options.gpu_memory);
  } catch (const UsageError& error) {
    throw UsageError("--gpu_memory: {}", error.what());
  }
}

std::optional<DeepSpeedConfig> deepspeed_of(const TrainCommandOptions& o, std::int64_t ranks) {
  if (!o.launcher.deepspeed) return {};
  return load_deepspeed_config(*o.launcher.deepspeed, o.optimization, ranks);
}

// An adapter that is trained on brings its own rank and targets.
void apply_adapter_config(const TrainCommandOptions& o, RunShape& shape) {
  if (shape.full || !o.model.adapter_name_or_path || !o.launcher.resume_lora_training) return;
  const std::string& list = *o.model.adapter_name_or_path;
  const std::filesystem::path last = list.substr(list.rfind(',') + 1);
  const Json config = read_json_file(last / "adapter_config.json");
  if (config.contains("r") && config["r"].is_number_integer()) shape.lora_rank = config["r"].get<std::int64_t>();
  if (!config.contains("target_modules") || !config["target_modules"].is_array()) return;
  shape.lora_targets.clear();
  for (const Json& target : config["target_modules"])
    if (target.is_string()) shape.lora_targets.push_back(target.get<std::string>());
}

std::optional<SftEstimate> estimate_data(const DataOptions& data,
                                         const PlannedModel& model,
                                         std::uint64_t seed,
                                         std::vector<std::string>& notes) {
  if (data.dataset.empty()) {
    notes.push_back(fmt::format("no --dataset: every row is taken to have {} tokens", row_limit_tokens(data)));
    return {};
  }
  std::optional<Tokenizer> tokenizer;
  if (model.directory && std::filesystem::exists(*model.directory / "tokenizer.model"))
    tokenizer.emplace(*model.directory);
  SftEstimate estimate = estimate_sft(data, tokenizer ? &*tokenizer : nullptr, seed);
  notes.insert(notes.end(), estimate.notes.begin(), estimate.notes.end());
  return estimate;
}

std::optional<StepPlan> steps_of(const TrainCommandOptions& o,
                                 const std::optional<SftEstimate>& data,
                                 std::int64_t ranks) {
  const auto& p = o.optimization;
  if (!data && p.max_steps <= 0) return {};
  // Without data only --max_steps counts, and an epoch is the whole run.
  const std::int64_t rows_of_run = p.max_steps * p.per_device_train_batch_size * p.gradient_accumulation_steps;
  const std::int64_t rows = data ? (data->train_rows + ranks - 1) / ranks : rows_of_run;
  return plan_steps(rows, p.per_device_train_batch_size, p.gradient_accumulation_steps, p.num_train_epochs, p.max_steps,
                    o.finetuning.compat == "2023");
}

}  // namespace

PlannedRun gather_planned_run(const PlanCommandOptions& options, const OptionTable& table) {
  TrainCommandOptions o = options.train;
  if (o.finetuning.compat == "2023") apply_compat_2023(o.data, table);
  PlannedRun run;
  run.model_name = o.model.model_name_or_path;
  const PlannedModel model = find_model(o.model, run.notes);
  run.model_is_here = model.directory.has_value();
  const std::int64_t ranks = ranks_of(table);
  run.device = choose_device(options.plan, o, table, ranks, run.notes);
  apply_memory_limit(options.plan, run.device);
  run.shape = training_shape(o, deepspeed_of(o, ranks), model.config, model.stored_bytes, ranks);
  apply_adapter_config(o, run.shape);
  run.shape.on_gpu = run.device.is_gpu();
  run.data = estimate_data(o.data, model, static_cast<std::uint64_t>(o.run.seed), run.notes);
  run.shape.longest = run.data ? run.data->longest : row_limit_tokens(o.data);
  run.shape.recomputed_layers = recomputed_layers(o.finetuning.recompute_layers, o.finetuning.compat == "2023",
                                                  run.shape, allocation_budget(run.device, ranks));
  const auto limit = static_cast<double>(run.shape.longest);
  run.rows = {limit, limit, 1};
  if (run.data) {
    const double padded = run.data->mean_padded_tokens(run.shape.batch);
    run.rows = {run.data->mean_tokens, padded, run.data->labelled_share * run.data->mean_tokens / padded};
  }
  run.steps = steps_of(o, run.data, ranks);
  return run;
}

}  // namespace baichuan
