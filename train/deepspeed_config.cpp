#include "train/deepspeed_config.h"

#include <array>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "train/deepspeed_section.h"

namespace baichuan {

namespace {

DeepSpeedDtype parse_dtype(const DeepSpeedObject& object, std::string_view key) {
  constexpr std::array<std::pair<std::string_view, DeepSpeedDtype>, 8> kNames{{
      {"fp16", DeepSpeedDtype::kFloat16},
      {"float16", DeepSpeedDtype::kFloat16},
      {"half", DeepSpeedDtype::kFloat16},
      {"bf16", DeepSpeedDtype::kBfloat16},
      {"bfloat16", DeepSpeedDtype::kBfloat16},
      {"fp32", DeepSpeedDtype::kFloat32},
      {"float32", DeepSpeedDtype::kFloat32},
      {"float", DeepSpeedDtype::kFloat32},
  }};
  const std::string found = object.text(key, "");
  for (const auto& [name, dtype] : kNames)
    if (name == found) return dtype;
  object.fail(key, "fp16, bf16 or fp32");
}

class ConfigReader {
 public:
  ConfigReader(const DeepSpeedObject& file, const OptimizationOptions& flags, std::int64_t num_processes)
      : file_(file), flags_(flags), ranks_(static_cast<double>(num_processes)) {}

  DeepSpeedConfig read() {
    config_.origin = file_.origin();
    read_batch();
    read_clipping();
    read_precision();
    read_zero();
    read_reduction();
    const auto checkpoint = file_.section("checkpoint");
    config_.node_local_checkpoints = checkpoint.boolean("use_node_local_storage", false);
    config_.drop_last = file_.boolean("dataloader_drop_last", false);
    if (file_.given("optimizer"))
      config_.optimizer = read_deepspeed_optimizer(file_.section("optimizer"), flags_, disagreements_);
    if (file_.given("scheduler"))
      config_.scheduler = read_deepspeed_scheduler(file_.section("scheduler"), flags_, disagreements_);
    disagreements_.report(file_.origin());
    return config_;
  }

 private:
  static constexpr const char* kBatch = "train_batch_size";
  static constexpr const char* kMicro = "train_micro_batch_size_per_gpu";
  static constexpr const char* kAccumulation = "gradient_accumulation_steps";

  // In double: a product of integers of the file may be larger than any integer type.
  double count(const char* key) const { return static_cast<double>(file_.integer(key, 0, 1)); }

  void read_batch() {
    const auto micro = static_cast<double>(flags_.per_device_train_batch_size);
    const auto accumulation = static_cast<double>(flags_.gradient_accumulation_steps);
    const bool has_micro = file_.given(kMicro);
    const bool has_accumulation = file_.given(kAccumulation);
    if (has_micro) disagreements_.compare(kMicro, count(kMicro), "--per_device_train_batch_size", micro);
    if (has_accumulation)
      disagreements_.compare(kAccumulation, count(kAccumulation), "--gradient_accumulation_steps", accumulation);
    if (!file_.given(kBatch)) return;
    const double batch = count(kBatch);
    if (has_micro && has_accumulation)
      disagreements_.compare(kBatch, batch, fmt::format("{} x {} x {} ranks", kMicro, kAccumulation, ranks_),
                             count(kMicro) * count(kAccumulation) * ranks_);
    else if (has_micro)
      compare_derived(kAccumulation, kMicro, "--gradient_accumulation_steps", accumulation);
    else if (has_accumulation)
      compare_derived(kMicro, kAccumulation, "--per_device_train_batch_size", micro);
    else
      disagreements_.compare(kBatch, batch, "batch x accumulation x ranks", micro * accumulation * ranks_);
  }

  // Two of the three numbers give the third, as DeepSpeed derives it.
  void compare_derived(const char* derived, const char* given, const std::string& flag, double wanted) {
    const double quotient = count(kBatch) / (count(given) * ranks_);
    if (quotient != std::floor(quotient))
      disagreements_.add(
          fmt::format("{}={} is no multiple of {} {} x {} ranks", kBatch, count(kBatch), given, count(given), ranks_));
    else
      disagreements_.compare(
          fmt::format("{} ({} {} / {} {} / {} ranks)", derived, kBatch, count(kBatch), given, count(given), ranks_),
          quotient, flag, wanted);
  }

  void read_clipping() {
    constexpr const char* kKey = "gradient_clipping";
    if (file_.automatic(kKey)) config_.gradient_clipping = flags_.max_grad_norm;
    if (!file_.given(kKey)) return;
    config_.gradient_clipping = file_.number(kKey, 0, 0);
    disagreements_.compare(kKey, *config_.gradient_clipping, "--max_grad_norm", flags_.max_grad_norm);
  }

  bool enabled(const DeepSpeedObject& section, const std::string& flag, bool wanted) {
    if (section.automatic("enabled")) return wanted;
    const bool found = section.boolean("enabled", false);
    disagreements_.compare(named_value(section, "enabled"), found, flag, wanted);
    return found;
  }

  void read_precision() {
    const std::string bf16_name = file_.given("bf16") ? "bf16" : "bfloat16";
    const auto fp16 = file_.section("fp16");
    const auto bf16 = file_.section(bf16_name);
    const bool fp16_on = file_.given("fp16") && enabled(fp16, "--fp16", flags_.fp16);
    const bool bf16_on = file_.given(bf16_name) && enabled(bf16, "--bf16", flags_.bf16);
    if (fp16_on && bf16_on)
      throw UsageError("{}: fp16 and {} exclude each other; found both enabled; switch one of them off", file_.origin(),
                       bf16_name);
    read_loss_scale(fp16);
  }

  void read_loss_scale(const DeepSpeedObject& fp16) {
    auto& scale = config_.loss_scale;
    scale.deepspeed_rule = true;
    scale.initial_scale = std::exp2(static_cast<double>(fp16.integer("initial_scale_power", 16, 0, 127)));
    scale.window = fp16.integer("loss_scale_window", 1000, 1);
    scale.hysteresis = fp16.integer("hysteresis", 2, 1);
    scale.consecutive_hysteresis = fp16.boolean("consecutive_hysteresis", false);
    scale.min_scale = static_cast<double>(fp16.integer("min_loss_scale", 1, 1));
    const double fixed = fp16.number("loss_scale", 0, 0);
    if (fixed == 0) return;
    scale.is_static = true;
    scale.initial_scale = fixed;
  }

  void read_zero() {
    constexpr const char* kKey = "zero_optimization";
    if (!file_.given(kKey)) return;
    const OrderedJson& value = file_.at(kKey);
    if (value.is_boolean()) {  // a format that DeepSpeed calls deprecated
      config_.stage = value.get<bool>() ? 1 : 0;
      return;
    }
    if (!value.is_object()) file_.fail(kKey, "an object, true or false");
    const auto zero = file_.section(kKey);
    config_.stage = zero.integer("stage", 0, 0, 3);
    if (config_.stage == 3)
      throw UsageError("{}: '{}' 3 is not built yet; use stage 2", file_.origin(), zero.path("stage"));
    for (const char* const key : {"offload_optimizer", "offload_param"}) zero.section(key);  // checks its keys
    if (zero.automatic("reduce_bucket_size"))
      config_.reduce_bucket_elements.reset();
    else
      config_.reduce_bucket_elements = zero.integer("reduce_bucket_size", 500'000'000, 1);
    config_.allgather_bucket_elements = zero.integer("allgather_bucket_size", 500'000'000, 2);
    if (config_.allgather_bucket_elements % 2 != 0)
      zero.fail("allgather_bucket_size", "even, as partitions are aligned to 2 elements");
    reduce_scatter_ = zero.boolean("reduce_scatter", true);
    if (config_.stage > 0 && !reduce_scatter_)
      log::warning("{}: '{}' false is ignored: gradients are reduce-scattered, the same sum up to rounding",
                   file_.origin(), zero.path("reduce_scatter"));
  }

  void read_reduction() {
    if (file_.given("communication_data_type"))
      config_.communication_dtype = parse_dtype(file_, "communication_data_type");
    const auto data_types = file_.section("data_types");
    if (data_types.given("grad_accum_dtype")) {
      config_.accumulation_dtype = parse_dtype(data_types, "grad_accum_dtype");
      if (config_.accumulation_dtype != DeepSpeedDtype::kFloat32)
        log::warning("{}: '{}' {} is ignored: gradients are added up in float32", file_.origin(),
                     data_types.path("grad_accum_dtype"), data_types.text("grad_accum_dtype", ""));
    }
    if (file_.text("gradient_allreduce_op", "mean") != "mean")
      file_.fail("gradient_allreduce_op", "mean: a sum over ranks would multiply the gradients by their number");
    const double factor = file_.number("gradient_predivide_factor", 1, 0);
    if (factor == 0) file_.fail("gradient_predivide_factor", "above 0");
    if (config_.stage == 0 || !reduce_scatter_) return;  // the mean is the same, up to rounding
    const std::string reason = " under ZeRO with reduce_scatter, for which DeepSpeed has not built it either";
    if (factor != 1) file_.fail("gradient_predivide_factor", "1" + reason);
    if (file_.boolean("prescale_gradients", false)) file_.fail("prescale_gradients", "false" + reason);
  }

  const DeepSpeedObject& file_;
  const OptimizationOptions& flags_;
  double ranks_;
  bool reduce_scatter_ = true;
  DeepSpeedConfig config_;
  FlagDisagreements disagreements_;
};

}  // namespace

DeepSpeedConfig load_deepspeed_config(const std::string& argument,
                                      const OptimizationOptions& flags,
                                      std::int64_t num_processes) {
  return parse_deepspeed_config(read_deepspeed_argument(argument), flags, num_processes);
}

DeepSpeedConfig parse_deepspeed_config(const DeepSpeedText& source,
                                       const OptimizationOptions& flags,
                                       std::int64_t num_processes) {
  const OrderedJson json = parse_deepspeed_json(source.text, source.origin);
  const DeepSpeedObject file(source.origin, "", json);
  return ConfigReader(file, flags, num_processes).read();
}

std::optional<std::int64_t> DeepSpeedConfig::wire_bytes() const {
  if (!communication_dtype) return {};
  return *communication_dtype == DeepSpeedDtype::kFloat32 ? 4 : 2;
}

std::optional<ScheduleOptions> DeepSpeedConfig::schedule(const OptimizationOptions& flags,
                                                         std::int64_t run_steps) const {
  if (!scheduler) return {};
  FlagDisagreements disagreements;
  compare_steps(*scheduler, flags, run_steps, disagreements);
  disagreements.report(origin);
  return schedule_options(*scheduler, flags, run_steps);
}

double effective_max_grad_norm(const DeepSpeedConfig& config,
                               const OptimizationOptions& flags,
                               bool compat_2023,
                               bool max_grad_norm_given) {
  if (config.gradient_clipping) {
    log::info("{}: gradients are clipped at a norm of {} (0: never)", config.origin, *config.gradient_clipping);
    return *config.gradient_clipping;
  }
  if (compat_2023 && !max_grad_norm_given) {
    log::warning("{} has no gradient_clipping: the stack of 2023 did not clip then, and neither does this run",
                 config.origin);
    return 0;
  }
  log::info("{} has no gradient_clipping: --max_grad_norm {} holds", config.origin, flags.max_grad_norm);
  return flags.max_grad_norm;
}

}  // namespace baichuan
