// `baichuan bench train` and `baichuan bench decode`.
#include <algorithm>
#include <chrono>

#include <fmt/core.h>

#include <torch/torch.h>

#include "app/assemble_model.h"
#include "app/bench_options.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/philox.h"
#include "kernels/device.h"
#include "model/load_weights.h"
#include "model/model_location.h"
#include "train/peak_memory.h"
#include "train/train_step.h"

namespace baichuan {

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<std::int32_t> random_ids(std::int64_t count,
                                     std::int64_t vocab_size,
                                     std::uint64_t seed,
                                     std::uint32_t row) {
  std::vector<std::int32_t> ids;
  const PhiloxKey key = philox_key(seed, DrawPurpose::kSampling);
  for (std::int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<std::int32_t>(philox4x32({static_cast<std::uint32_t>(i), row, 0, 0}, key)[0] %
                                            static_cast<std::uint32_t>(vocab_size)));
  return ids;
}

Batch random_batch(const BenchTrainWork& work, const BaichuanForCausalLM& model, std::uint64_t seed) {
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<BatchRow> rows;
  for (std::int64_t r = 0; r < work.per_device_train_batch_size; ++r)
    ids.push_back(random_ids(work.cutoff_len, model.config().vocab_size, seed, static_cast<std::uint32_t>(r)));
  for (std::size_t r = 0; r < ids.size(); ++r) rows.push_back({ids[r], ids[r], static_cast<std::int64_t>(r)});
  return make_batch(rows, model.config().pad_token_id, model.device());
}

using Rows = std::vector<std::vector<std::int32_t>>;

// entry[key] as rows of numbers from `lowest` on that stay below the vocabulary's size; nothing where it is not.
std::optional<Rows> rows_of(const Json& entry, const char* key, std::int64_t lowest, std::int64_t vocab_size) {
  if (!entry.is_object() || !entry.contains(key) || !entry.at(key).is_array()) return {};
  Rows rows;
  for (const Json& row : entry.at(key)) {
    if (!row.is_array() || row.empty()) return {};
    rows.emplace_back();
    for (const Json& id : row) {
      if (!id.is_number_integer() || id.get<std::int64_t>() < lowest || id.get<std::int64_t>() >= vocab_size) return {};
      rows.back().push_back(id.get<std::int32_t>());
    }
  }
  return rows;
}

std::vector<Batch> batches_of_file(const std::string& path, const BaichuanForCausalLM& model) {
  const auto& config = model.config();
  const Json file = read_json_file(path);
  if (!file.is_array() || file.empty())
    throw DataError("{}: expected a list of batches [{{\"ids\": [[...]], \"labels\": [[...]]}}, ...]; found {}", path,
                    file.is_array() ? "none" : file.type_name());
  std::vector<Batch> batches;
  for (const Json& entry : file) {
    const auto ids = rows_of(entry, "ids", 0, config.vocab_size);
    const auto labels = rows_of(entry, "labels", kIgnoredLabel, config.vocab_size);
    const auto same_length = [](const auto& a, const auto& b) { return a.size() == b.size(); };
    if (!ids || !labels || ids->empty() || !std::ranges::equal(*ids, *labels, same_length))
      throw DataError(
          "{}: batch {}: expected 'ids' and 'labels' to be lists of rows of the same lengths, whole numbers below {}; "
          "found others; correct the file",
          path, batches.size(), config.vocab_size);
    std::vector<BatchRow> rows;
    for (std::size_t r = 0; r < ids->size(); ++r)
      rows.push_back({(*ids)[r], (*labels)[r], static_cast<std::int64_t>(r)});
    batches.push_back(make_batch(rows, config.pad_token_id, model.device()));
  }
  return batches;
}

// The model and the adapter that `baichuan train` would train under these flags.
std::shared_ptr<BaichuanForCausalLM> load_base(const BenchTrainCommandOptions& o) {
  const at::ScalarType compute = o.work.fp16 ? at::kHalf : o.work.bf16 ? at::kBFloat16 : at::kFloat;
  const bool full = o.work.finetuning_type == "full";
  LoadOptions load{parse_dtype(o.model.dtype), select_device(o.model.device)};
  if (full || (!load.dtype && compute != at::kFloat)) load.dtype = compute;
  auto model =
      load_model(resolve_model_directory(o.model.model_name_or_path, o.model.cache_dir, o.model.model_revision), load);
  model->set_compute_dtype(compute);
  model->set_alibi_mode(o.model.alibi_mode == "official" ? AlibiMode::kOfficial : AlibiMode::kExact);
  for (auto& parameter : model->parameters()) parameter.requires_grad_(full);
  model->set_recompute_layers(o.work.recompute_layers);
  return model;
}

std::optional<LoraAdapter> attach_adapter(const BenchTrainCommandOptions& o,
                                          const OptionTable& table,
                                          BaichuanForCausalLM& model) {
  if (o.work.finetuning_type != "lora") return {};
  if (!o.model.adapter_name_or_path) return LoraAdapter::attach(model, o.lora, static_cast<std::uint64_t>(o.run.seed));
  const auto dropout = table.given("lora_dropout") ? std::optional(o.lora.lora_dropout) : std::nullopt;
  return LoraAdapter::load_all(model, split_adapter_list(*o.model.adapter_name_or_path), dropout);
}

void print_report(const OrderedJson& report, bool json) {
  if (json) {
    fmt::print("{}\n", report.dump());
    return;
  }
  for (const auto& [key, value] : report.items()) fmt::print("{:<28} {}\n", key, value.dump());
}

}  // namespace

int run_bench_train(const BenchTrainCommandOptions& options, const OptionTable& table) {
  log::set_level(log::parse_level(options.run.log_level));
  const auto& work = options.work;
  const auto seed = static_cast<std::uint64_t>(options.run.seed);
  const auto model = load_base(options);
  auto adapter = attach_adapter(options, table, *model);
  std::vector<std::pair<std::string, at::Tensor>> trained;
  if (adapter)
    trained = adapter->parameters();
  else
    for (const auto& named : model->named_parameters()) trained.emplace_back(named.key(), named.value());
  Optimizer optimizer(trained, {});
  TrainStepSettings settings;
  settings.seed = seed;
  settings.scale_loss = work.fp16;
  TrainStep step(*model, adapter ? &*adapter : nullptr, optimizer, settings);
  const auto batches =
      work.input ? batches_of_file(*work.input, *model) : std::vector{random_batch(work, *model, seed)};
  std::vector<double> rates;
  double first_loss = 0;
  for (std::int64_t i = 0; i < work.discarded_steps + work.steps; ++i) {
    const auto& batch = batches[static_cast<std::size_t>(i) % batches.size()];
    TrainStepResult result;
    const double began = seconds_now();
    step.run(StepWork::of({&batch, 1}), i + 1, /*learning_rate=*/1e-4, result);
    const double took = seconds_now() - began;
    if (i == 0) first_loss = result.loss;
    if (i >= work.discarded_steps) rates.push_back(static_cast<double>(result.tokens) / took);
  }
  OrderedJson report;
  report["tokens_per_second"] = median(rates);
  report["first_loss"] = first_loss;
  report["peak_memory_bytes"] = peak_memory_bytes().value_or(0);
  report["steps"] = rates;
  print_report(report, options.report.json);
  return 0;
}

int run_bench_decode(const BenchDecodeCommandOptions& options, const OptionTable&) {
  log::set_level(log::parse_level(options.run.log_level));
  torch::NoGradGuard no_grad;
  const auto assembled = assemble_model(options.model);
  auto& model = *assembled.model;
  const auto& work = options.work;
  const auto prompt =
      random_ids(work.prompt_tokens, model.config().vocab_size, static_cast<std::uint64_t>(options.run.seed), 0);
  KvCache cache(model.config(), 1, work.prompt_tokens + work.new_tokens,
                at::TensorOptions().dtype(model.compute_dtype()).device(model.device()));
  const auto next_of = [&](const at::Tensor& ids) {
    const auto hidden = model.hidden_states(ids, &cache);
    return model.logits(hidden.slice(1, hidden.size(1) - 1)).argmax(-1);
  };
  const double began = seconds_now();
  auto next = next_of(torch::tensor(prompt, at::kLong).to(model.device()).unsqueeze(0));
  next.item<std::int64_t>();
  const double prefilled = seconds_now();
  for (std::int64_t i = 1; i < work.new_tokens; ++i) {
    next = next_of(next);
    next.item<std::int64_t>();
  }
  const double done = seconds_now();
  OrderedJson report;
  report["prefill_tokens_per_second"] = static_cast<double>(work.prompt_tokens) / (prefilled - began);
  report["decode_tokens_per_second"] =
      static_cast<double>(std::max<std::int64_t>(work.new_tokens - 1, 1)) / (done - prefilled);
  report["peak_memory_bytes"] = peak_memory_bytes().value_or(0);
  print_report(report, options.report.json);
  return 0;
}

}  // namespace baichuan
