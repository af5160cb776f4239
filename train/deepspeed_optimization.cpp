#include "train/deepspeed_optimization.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/log.h"

namespace baichuan {

namespace {

// Of DeepSpeed's FusedAdam and of its schedulers.
constexpr double kDefaultRate = 1e-3;
constexpr std::int64_t kDefaultWarmupSteps = 1000;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

double filled(const DeepSpeedObject& params, std::string_view key, double fallback, double flag) {
  return params.automatic(key) ? flag : params.number(key, fallback, 0);
}

std::pair<double, double> read_betas(const DeepSpeedObject& params, const OptimizationOptions& flags) {
  if (params.automatic("betas")) return {flags.adam_beta1, flags.adam_beta2};
  if (!params.given("betas")) return {0.9, 0.999};
  const OrderedJson& betas = params.at("betas");
  const auto is_beta = [](const OrderedJson& beta) {
    return beta.is_number() && beta.get<double>() >= 0 && beta.get<double>() < 1;
  };
  if (!betas.is_array() || betas.size() != 2 || !is_beta(betas[0]) || !is_beta(betas[1]))
    params.fail("betas", "two numbers from 0 to below 1, or \"auto\"");
  return {betas[0].get<double>(), betas[1].get<double>()};
}

void require_adamw(const DeepSpeedObject& block, const DeepSpeedObject& params, double weight_decay) {
  const std::string type = lower(block.text("type", ""));
  if (type != "adam" && type != "adamw") {
    if (!block.given("type")) throw UsageError("{}: 'optimizer' needs a type; write AdamW", block.origin());
    block.fail("type", "AdamW or Adam, the optimizers that are built");
  }
  // Without a decay, Adam with L2 and AdamW are the same.
  if (type == "adam" && !params.boolean("adam_w_mode", true) && weight_decay > 0)
    throw UsageError(
        "{}: 'optimizer.params.adam_w_mode' false asks for Adam with L2 regularisation, which is not built; "
        "found weight_decay {}; set adam_w_mode to true, or weight_decay and --weight_decay to 0",
        block.origin(), weight_decay);
}

ScheduleType parse_type(const DeepSpeedObject& block) {
  constexpr std::array<std::pair<std::string_view, ScheduleType>, 3> kTypes{{
      {"WarmupLR", ScheduleType::kDeepSpeedWarmup},
      {"WarmupDecayLR", ScheduleType::kDeepSpeedWarmupDecay},
      {"WarmupCosineLR", ScheduleType::kDeepSpeedWarmupCosine},
  }};
  const std::string found = block.text("type", "");
  for (const auto& [name, type] : kTypes)
    if (name == found) return type;
  if (!block.given("type"))
    throw UsageError("{}: 'scheduler' needs a type; write WarmupLR, WarmupDecayLR or WarmupCosineLR", block.origin());
  block.fail("type", "WarmupLR, WarmupDecayLR or WarmupCosineLR, the schedulers that are built");
}

// DeepSpeed passes the parameters to a class, which stops at those of another one.
void require_parameters_of(ScheduleType type, const DeepSpeedObject& block, const DeepSpeedObject& params) {
  const bool cosine = type == ScheduleType::kDeepSpeedWarmupCosine;
  const auto refuse = [&](std::string_view key) {
    if (params.given(key) || params.automatic(key))
      throw UsageError("{}: '{}' is no parameter of {}; remove it", block.origin(), params.path(key),
                       block.text("type", ""));
  };
  for (const char* const key : {"warmup_min_lr", "warmup_max_lr"})
    if (cosine) refuse(key);
  for (const char* const key : {"warmup_min_ratio", "cos_min_ratio"})
    if (!cosine) refuse(key);
  if (type == ScheduleType::kDeepSpeedWarmup) refuse("total_num_steps");
}

std::int64_t flag_warmup_steps(const OptimizationOptions& flags, std::int64_t total_steps) {
  return std::max<std::int64_t>(
      1, warmup_updates(
             {.total_steps = total_steps, .warmup_steps = flags.warmup_steps, .warmup_ratio = flags.warmup_ratio}));
}

}  // namespace

DeepSpeedOptimizer read_deepspeed_optimizer(const DeepSpeedObject& block,
                                            const OptimizationOptions& flags,
                                            FlagDisagreements& disagreements) {
  const auto params = block.section("params");
  const auto [beta1, beta2] = read_betas(params, flags);
  const DeepSpeedOptimizer optimizer{.learning_rate = filled(params, "lr", kDefaultRate, flags.learning_rate),
                                     .beta1 = beta1,
                                     .beta2 = beta2,
                                     .epsilon = filled(params, "eps", 1e-8, flags.adam_epsilon),
                                     .weight_decay = filled(params, "weight_decay", 0, flags.weight_decay)};
  require_adamw(block, params, optimizer.weight_decay);
  const auto compare = [&](std::string_view key, double found, const std::string& flag, double wanted) {
    disagreements.compare(named_value(params, key), found, flag, wanted);
  };
  compare("lr", optimizer.learning_rate, "--learning_rate", flags.learning_rate);
  compare("betas", optimizer.beta1, "--adam_beta1", flags.adam_beta1);
  compare("betas", optimizer.beta2, "--adam_beta2", flags.adam_beta2);
  compare("eps", optimizer.epsilon, "--adam_epsilon", flags.adam_epsilon);
  compare("weight_decay", optimizer.weight_decay, "--weight_decay", flags.weight_decay);
  if (flags.optim == "adamw_hf")
    disagreements.add(fmt::format("optimizer.type={} against --optim=adamw_hf", block.text("type", "")));
  return optimizer;
}

DeepSpeedScheduler read_deepspeed_scheduler(const DeepSpeedObject& block,
                                            const OptimizationOptions& flags,
                                            FlagDisagreements& disagreements) {
  const auto params = block.section("params");
  DeepSpeedScheduler scheduler;
  scheduler.type = parse_type(block);
  require_parameters_of(scheduler.type, block, params);
  const std::string shape = params.text("warmup_type", "log");
  if (shape != "log" && shape != "linear") params.fail("warmup_type", "log or linear");
  scheduler.warmup = {.linear = shape == "linear",
                      .min_rate = params.number("warmup_min_lr", 0, 0),
                      .min_ratio = params.number("warmup_min_ratio", 0, 0),
                      .end_ratio = params.number("cos_min_ratio", DeepSpeedWarmup{}.end_ratio, 0)};
  // Where it is absent, WarmupLR takes the optimizer's rate, and WarmupDecayLR a thousandth.
  const bool rate_by_default =
      scheduler.type == ScheduleType::kDeepSpeedWarmupDecay && !params.automatic("warmup_max_lr");
  const double peak = params.number("warmup_max_lr", rate_by_default ? kDefaultRate : flags.learning_rate, 0);
  if (scheduler.type != ScheduleType::kDeepSpeedWarmupCosine)
    disagreements.compare(named_value(params, "warmup_max_lr"), peak, "--learning_rate", flags.learning_rate);
  scheduler.default_warmup_steps = !params.given("warmup_num_steps") && !params.automatic("warmup_num_steps");
  if (!params.automatic("warmup_num_steps"))
    scheduler.warmup_steps = params.integer("warmup_num_steps", kDefaultWarmupSteps, 1);
  if (params.given("total_num_steps")) scheduler.total_steps = params.integer("total_num_steps", 0, 1);
  if (flags.max_steps > 0) compare_steps(scheduler, flags, flags.max_steps, disagreements);
  log::info("{}: {} decides the rates, not --lr_scheduler_type {}", block.origin(), block.text("type", ""),
            flags.lr_scheduler_type);
  return scheduler;
}

void compare_steps(const DeepSpeedScheduler& scheduler,
                   const OptimizationOptions& flags,
                   std::int64_t total_steps,
                   FlagDisagreements& disagreements) {
  const auto compare = [&](const std::string& key, std::int64_t found, const std::string& flag, std::int64_t wanted) {
    disagreements.compare("scheduler.params." + key, static_cast<double>(found), flag, static_cast<double>(wanted));
  };
  if (scheduler.total_steps) compare("total_num_steps", *scheduler.total_steps, "the run's steps", total_steps);
  const bool flags_warm_up = flags.warmup_steps > 0 || flags.warmup_ratio > 0;
  if (!scheduler.warmup_steps || (scheduler.default_warmup_steps && !flags_warm_up)) return;
  const std::string source = scheduler.default_warmup_steps ? " (DeepSpeed's default)" : "";
  compare("warmup_num_steps" + source, *scheduler.warmup_steps, "the flags' warm-up steps",
          flag_warmup_steps(flags, total_steps));
}

ScheduleOptions schedule_options(const DeepSpeedScheduler& scheduler,
                                 const OptimizationOptions& flags,
                                 std::int64_t total_steps) {
  return {.type = scheduler.type,
          .learning_rate = flags.learning_rate,
          .total_steps = total_steps,
          .warmup_steps = scheduler.warmup_steps.value_or(flag_warmup_steps(flags, total_steps)),
          .deepspeed = scheduler.warmup};
}

}  // namespace baichuan
