#include "train/run_state.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/log.h"

namespace baichuan {

namespace {

constexpr const char* kFile = "run_state.json";
constexpr int kVersion = 1;

// A checkpoint's position and moments mean nothing under other values of these.
constexpr auto kFixed = std::to_array<std::string_view>(
    {"per_device_train_batch_size", "seed", "compat", "finetuning_type", "lora_rank", "lora_target", "dataset",
     "val_size", "max_samples", "template", "template_compat", "cutoff_len", "max_source_length", "max_target_length",
     "train_on_prompt", "disable_shuffling", "loss_normalization", "optim"});

// These say where a run writes and how often, not what it computes.
constexpr auto kFree = std::to_array<std::string_view>({"output_dir",
                                                        "overwrite_output_dir",
                                                        "resume_from_checkpoint",
                                                        "save_in_background",
                                                        "logging_dir",
                                                        "report_to",
                                                        "log_level",
                                                        "plot_loss",
                                                        "overwrite_cache",
                                                        "dataset_cache_dir",
                                                        "preprocessing_num_workers",
                                                        "save_total_limit",
                                                        "recompute_layers",
                                                        "gradient_accumulation_steps",
                                                        "num_gpus",
                                                        "num_processes",
                                                        "local_rank",
                                                        "max_restarts",
                                                        "ddp_timeout",
                                                        "on_non_finite"});

bool among(std::string_view name, const auto& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string to_hex(const std::vector<std::uint8_t>& bytes) {
  constexpr const char* digits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::vector<std::uint8_t> from_hex(const std::string& text) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::uint8_t>(std::stoul(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

Json read_state_file(const std::filesystem::path& checkpoint) {
  const auto path = checkpoint / kFile;
  Json file;
  try {
    file = read_json_file(path);
  } catch (const DataError& error) {
    throw CheckpointError("{}: expected a checkpoint to resume from; {}", checkpoint.string(), error.what());
  }
  if (!file.is_object() || file.value("version", 0) != kVersion)
    throw CheckpointError("{}: expected version {} of the run state; start a new run from these weights instead",
                          path.string(), kVersion);
  return file;
}

}  // namespace

void save_run_state(const std::filesystem::path& checkpoint,
                    const RunState& s,
                    const Json& options,
                    const std::string& data_fingerprint) {
  OrderedJson file;
  file["version"] = kVersion;
  file["step"] = s.step;
  file["updates"] = s.updates;
  file["non_finite_steps"] = s.non_finite_steps;
  file["epoch"] = s.position.epoch;
  file["micro_batch"] = s.position.micro_batch;
  file["micro_batches_in_all"] = s.position.total;
  file["micro_batches_per_step"] = s.micro_batches_per_step;
  file["ranks"] = s.ranks;
  file["loss_since_log"] = s.loss_since_log;
  file["steps_since_log"] = s.steps_since_log;
  file["loss_in_all"] = s.loss_in_all;
  file["total_flos"] = s.total_flos;
  file["elapsed_seconds"] = s.elapsed_seconds;
  file["samples_seen"] = s.samples_seen;
  file["loss_scale"] = {{"scale", s.loss_scale.scale},
                        {"good_steps", s.loss_scale.good_steps},
                        {"hysteresis_left", s.loss_scale.hysteresis_left},
                        {"iteration", s.loss_scale.iteration},
                        {"last_overflow", s.loss_scale.last_overflow}};
  file["schedule"] = s.schedule;
  file["data_order"] = to_hex(s.data_order);
  file["data_fingerprint"] = data_fingerprint;
  file["options"] = options;
  write_json_file(checkpoint / kFile, file);
}

RunState load_run_state(const std::filesystem::path& checkpoint) {
  const Json file = read_state_file(checkpoint);
  try {
    RunState s;
    s.step = file.at("step");
    s.updates = file.at("updates");
    s.non_finite_steps = file.value("non_finite_steps", std::int64_t{0});
    s.position = {file.at("epoch"), file.at("micro_batch"), file.at("micro_batches_in_all")};
    s.micro_batches_per_step = file.at("micro_batches_per_step");
    s.loss_since_log = file.at("loss_since_log");
    s.steps_since_log = file.at("steps_since_log");
    s.loss_in_all = file.at("loss_in_all");
    s.total_flos = file.at("total_flos");
    s.elapsed_seconds = file.at("elapsed_seconds");
    s.samples_seen = file.at("samples_seen");
    const Json& scale = file.at("loss_scale");
    s.loss_scale = {scale.at("scale"), scale.at("good_steps"), scale.at("hysteresis_left"), scale.at("iteration"),
                    scale.at("last_overflow")};
    s.schedule = file.at("schedule");
    s.data_order = from_hex(file.at("data_order"));
    return s;
  } catch (const std::exception& error) {
    throw CheckpointError("{}: expected a complete run state; {}; use an older checkpoint",
                          (checkpoint / kFile).string(), error.what());
  }
}

std::int64_t resumed_ranks(const std::filesystem::path& checkpoint) {
  return read_state_file(checkpoint).value("ranks", std::int64_t{1});
}

std::int64_t resumed_micro_batches_per_step(const std::filesystem::path& checkpoint,
                                            std::int64_t wanted,
                                            std::int64_t ranks) {
  const Json file = read_state_file(checkpoint);
  const Json& saved = file.value("micro_batches_per_step", Json());
  if (!saved.is_number_integer() || saved.get<std::int64_t>() < 1)
    throw CheckpointError("{}: expected a complete run state; found no micro_batches_per_step; use an older checkpoint",
                          (checkpoint / kFile).string());
  const auto before = saved.get<std::int64_t>();
  if (before == wanted) return wanted;
  const Json options = file.value("options", Json::object());
  const std::int64_t accumulation = options.value("gradient_accumulation_steps", std::int64_t{1});
  if (wanted != accumulation * ranks)
    throw CheckpointError(
        "cannot resume from {}: a step had {} micro-batches over all ranks, and would have {}; choose "
        "--gradient_accumulation_steps so that it stays the same, or start a new run (--overwrite_output_dir) from its "
        "weights",
        checkpoint.string(), before, wanted);
  log::info("a step keeps its {} micro-batches, now dealt out to {} rank{}", before, ranks, ranks == 1 ? "" : "s");
  return before;
}

void check_resumed_options(const std::filesystem::path& checkpoint,
                           const Json& options,
                           const std::string& data_fingerprint) {
  const Json file = read_state_file(checkpoint);
  std::vector<std::string> refused;
  std::vector<std::string> changed;
  Json names = file.value("options", Json::object());
  const Json before = names;
  names.update(options);
  for (const auto& [name, unused] : names.items()) {
    const Json was = before.value(name, Json());
    const Json is = options.value(name, Json());
    if (was == is || among(name, kFree)) continue;
    const auto text = fmt::format("--{} was {}, is {}", name, was.is_null() ? "unset" : was.dump(),
                                  is.is_null() ? "unset" : is.dump());
    (among(name, kFixed) ? refused : changed).push_back(text);
  }
  if (refused.empty() && file.value("data_fingerprint", "") != data_fingerprint)
    refused.push_back("the rows of the data set have changed");
  if (!changed.empty()) log::warning("resuming with changed options: {}", fmt::join(changed, "; "));
  if (!refused.empty())
    throw CheckpointError(
        "cannot resume from {}: {}; give the same values, or start a new run (--overwrite_output_dir) from its weights",
        checkpoint.string(), fmt::join(refused, "; "));
}

}  // namespace baichuan
