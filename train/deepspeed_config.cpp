#include "train/deepspeed_config.h"

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/log.h"
#include "core/nearest.h"

namespace baichuan {

namespace {

const std::vector<std::string> kHonoured = {"train_batch_size",
                                            "train_micro_batch_size_per_gpu",
                                            "gradient_accumulation_steps",
                                            "gradient_clipping",
                                            "fp16",
                                            "bf16",
                                            "bfloat16",
                                            "zero_optimization"};

const std::vector<std::string> kHarmless = {"zero_allow_untested_optimizer",
                                            "zero_force_ds_cpu_optimizer",
                                            "steps_per_print",
                                            "wall_clock_breakdown",
                                            "memory_breakdown",
                                            "dump_state",
                                            "prescale_gradients",
                                            "communication_data_type",
                                            "gradient_predivide_factor",
                                            "checkpoint",
                                            "activation_checkpointing",
                                            "tensorboard",
                                            "csv_monitor",
                                            "wandb",
                                            "flops_profiler",
                                            "comms_logger",
                                            "data_types",
                                            "aio"};

bool is_auto(const Json& value) {
  return value.is_string() && value.get<std::string>() == "auto";
}

double number(const std::filesystem::path& path, const std::string& key, const Json& value) {
  if (!value.is_number())
    throw UsageError("{}: '{}' must be a number or \"auto\"; found {}", path.string(), key, value.dump());
  return value.get<double>();
}

class Reader {
 public:
  Reader(const std::filesystem::path& path, const OptimizationOptions& options, std::int64_t num_processes)
      : path_(path), options_(options), num_processes_(num_processes) {}

  DeepSpeedConfig read() {
    const Json file = Json::parse(read_file(path_), nullptr, false, /*ignore_comments=*/true);
    if (file.is_discarded()) read_json_file(path_);  // throws with the line
    if (!file.is_object()) throw UsageError("{}: expected a JSON object", path_.string());
    check_keys(file);
    check_batch(file);
    if (file.contains("gradient_clipping")) read_clipping(file["gradient_clipping"]);
    read_precision(file);
    if (file.contains("zero_optimization")) read_zero(file["zero_optimization"]);
    if (!mismatches_.empty())
      throw UsageError("{} disagrees with the flags: {}; set these keys to \"auto\" or change the flags",
                       path_.string(), fmt::join(mismatches_, "; "));
    return config_;
  }

 private:
  void check_keys(const Json& file) const {
    for (const auto& [key, value] : file.items()) {
      const auto among = [&key = key](const auto& names) {
        return std::find(names.begin(), names.end(), key) != names.end();
      };
      if (among(kHonoured)) continue;
      if (among(kHarmless)) {
        log::debug("{}: '{}' changes nothing here", path_.string(), key);
        continue;
      }
      const bool disabled = value.is_object() && value.contains("enabled") && value["enabled"] == Json(false);
      if (disabled) continue;
      if (key == "optimizer" || key == "scheduler")
        throw UsageError("{}: '{}' is not built yet; remove it and use the flags (--optim, --lr_scheduler_type)",
                         path_.string(), key);
      const std::string near = nearest_name(key, kHonoured);
      log::warning("{}: '{}' is not used{}", path_.string(), key,
                   near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
    }
  }

  void expect_equal(const Json& file, const std::string& key, double wanted, const std::string& flag) {
    if (!file.contains(key) || is_auto(file[key])) return;
    const double found = number(path_, key, file[key]);
    if (found != wanted) mismatches_.push_back(fmt::format("{}={} against {}={}", key, found, flag, wanted));
  }

  void check_batch(const Json& file) {
    const auto batch = static_cast<double>(options_.per_device_train_batch_size);
    const auto accumulation = static_cast<double>(options_.gradient_accumulation_steps);
    expect_equal(file, "train_micro_batch_size_per_gpu", batch, "--per_device_train_batch_size");
    expect_equal(file, "gradient_accumulation_steps", accumulation, "--gradient_accumulation_steps");
    expect_equal(file, "train_batch_size", batch * accumulation * static_cast<double>(num_processes_),
                 "batch x accumulation x ranks");
  }

  void read_clipping(const Json& value) {
    if (is_auto(value)) {
      config_.gradient_clipping = options_.max_grad_norm;
      return;
    }
    config_.gradient_clipping = number(path_, "gradient_clipping", value);
    if (*config_.gradient_clipping != options_.max_grad_norm)
      mismatches_.push_back(fmt::format("gradient_clipping={} against --max_grad_norm={}", *config_.gradient_clipping,
                                        options_.max_grad_norm));
  }

  bool enabled(const Json& section, bool flag, const std::string& name) {
    if (!section.contains("enabled")) return false;
    if (is_auto(section["enabled"])) return flag;
    const bool on = section["enabled"].get<bool>();
    if (on != flag) mismatches_.push_back(fmt::format("{}.enabled={} against --{}={}", name, on, name, flag));
    return on;
  }

  void read_precision(const Json& file) {
    for (const char* const name : {"bf16", "bfloat16"})
      if (file.contains(name)) enabled(file[name], options_.bf16, "bf16");
    if (!file.contains("fp16")) return;
    const Json& fp16 = file["fp16"];
    enabled(fp16, options_.fp16, "fp16");
    const auto value = [&](const char* key, double fallback) {
      return fp16.contains(key) && !is_auto(fp16[key]) ? number(path_, std::string("fp16.") + key, fp16[key])
                                                       : fallback;
    };
    auto& scale = config_.loss_scale;
    scale.deepspeed_rule = true;
    scale.initial_scale = std::exp2(value("initial_scale_power", 16));
    scale.window = static_cast<std::int64_t>(value("loss_scale_window", 1000));
    scale.hysteresis = static_cast<std::int64_t>(value("hysteresis", 2));
    scale.min_scale = value("min_loss_scale", 1);
    const double fixed = value("loss_scale", 0);
    if (scale.window <= 0 || scale.min_scale <= 0 || fixed < 0)
      throw UsageError("{}: fp16 needs loss_scale_window > 0, min_loss_scale > 0 and loss_scale >= 0", path_.string());
    if (fixed > 0) {
      scale.is_static = true;
      scale.initial_scale = fixed;
    }
  }

  void read_zero(const Json& zero) {
    if (zero.is_boolean()) {
      config_.stage = zero.get<bool>() ? 1 : 0;
      return;
    }
    config_.stage =
        zero.contains("stage") ? static_cast<std::int64_t>(number(path_, "zero_optimization.stage", zero["stage"])) : 0;
    if (config_.stage == 3)
      throw UsageError("{}: zero_optimization.stage 3 is not built yet; use stage 2", path_.string());
    if (config_.stage < 0 || config_.stage > 3)
      throw UsageError("{}: zero_optimization.stage must be 0, 1 or 2; found {}", path_.string(), config_.stage);
    for (const char* const key : {"offload_optimizer", "offload_param"}) {
      const bool off = !zero.contains(key) || zero[key].is_null() || zero[key].value("device", "none") == "none";
      if (!off) throw UsageError("{}: zero_optimization.{} is not built yet; remove it", path_.string(), key);
    }
  }

  std::filesystem::path path_;
  const OptimizationOptions& options_;
  std::int64_t num_processes_;
  DeepSpeedConfig config_;
  std::vector<std::string> mismatches_;
};

}  // namespace

DeepSpeedConfig load_deepspeed_config(const std::filesystem::path& path,
                                      const OptimizationOptions& options,
                                      std::int64_t num_processes) {
  return Reader(path, options, num_processes).read();
}

}  // namespace baichuan
