#include "app/train_options.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace baichuan {

namespace {

void require_built(const TrainCommandOptions& o) {
  const auto& f = o.finetuning;
  if (f.stage != "sft") throw UsageError("--stage {} is known but not built yet; only sft is", f.stage);
  if (f.finetuning_type == "freeze" || (f.finetuning_type == "none" && f.do_train))
    throw UsageError("--finetuning_type {} is known but not built yet; use full or lora", f.finetuning_type);
}

void require_consistent_precision(const TrainCommandOptions& o) {
  const bool fp16 = o.optimization.fp16;
  const bool bf16 = o.optimization.bf16;
  if (fp16 && bf16) throw UsageError("--fp16 and --bf16 exclude each other; give one compute type");
  if (fp16 && o.model.dtype == "bf16")
    throw UsageError("--fp16 cannot compute with --dtype bf16; give one 16-bit type");
  if (bf16 && o.model.dtype == "fp16")
    throw UsageError("--bf16 cannot compute with --dtype fp16; give one 16-bit type");
}

// The Python trainer's rules for --load_best_model_at_end.
void require_savable_best(const TrainCommandOptions& o) {
  const auto& l = o.logging;
  if (!l.load_best_model_at_end) return;
  if (l.evaluation_strategy == "no")
    throw UsageError("--load_best_model_at_end needs --evaluation_strategy steps or epoch; found no");
  if (l.evaluation_strategy != l.save_strategy)
    throw UsageError(
        "--load_best_model_at_end needs --save_strategy and --evaluation_strategy to be equal; found {} and {}",
        l.save_strategy, l.evaluation_strategy);
  const double eval_steps = l.eval_steps.value_or(l.logging_steps);
  if (l.evaluation_strategy == "steps" && eval_steps >= 1 && l.save_steps >= 1 &&
      std::fmod(l.save_steps, eval_steps) != 0)
    throw UsageError(
        "--load_best_model_at_end needs --save_steps to be a round multiple of --eval_steps; found {} and {}",
        l.save_steps, eval_steps);
}

void require_recompute_layers(const std::string& text) {
  constexpr std::size_t kMostDigits = 9;
  const bool number =
      !text.empty() && text.size() <= kMostDigits && text.find_first_not_of("0123456789") == std::string::npos;
  if (!number && text != "auto" && text != "all" && text != "none")
    throw UsageError("--recompute_layers must be a number of layers, all, none or auto; found '{}'", text);
}

// One question under two names, the later one the other way round.
void resolve_adapter_names(LauncherOptions& launcher, const OptionTable& table) {
  if (!launcher.create_new_adapter) return;
  const bool resume = !*launcher.create_new_adapter;
  if (table.given("resume_lora_training") && launcher.resume_lora_training != resume)
    throw UsageError("--create_new_adapter {0} and --resume_lora_training {0} contradict each other; give one of them",
                     *launcher.create_new_adapter);
  launcher.resume_lora_training = resume;
}

void require_launchable(const TrainCommandOptions& o) {
  const auto& l = o.launcher;
  if (l.num_gpus > 1 && l.num_processes > 1 && l.num_gpus != l.num_processes)
    throw UsageError("--num_gpus and --num_processes both say how many ranks to start; found {} and {}; give one",
                     l.num_gpus, l.num_processes);
  if (std::max(l.num_gpus, l.num_processes) > 1 && o.model.device.starts_with("cuda:"))
    throw UsageError("--device {} is one GPU; found {} ranks to start; leave --device out", o.model.device,
                     std::max(l.num_gpus, l.num_processes));
  if (l.num_processes > 1 && o.model.device == "cuda")
    throw UsageError("--num_processes starts ranks on CPUs; found --device cuda; give --num_gpus {} instead",
                     l.num_processes);
}

}  // namespace

void TrainCommandOptions::add_to(OptionTable& table) {
  table.add("Model", model);
  table.add("Run", run);
  table.add("Fine-tuning", finetuning);
  table.add("LoRA", lora);
  table.add("Data", data);
  table.add("Optimisation", optimization);
  table.add("Logging, evaluation and checkpoints", logging);
  table.add("Launcher", launcher);
  add_accepted_training_options(table);
}

void TrainCommandOptions::validate(const OptionTable& table) {
  if (model.model_name_or_path.empty())
    throw UsageError("--model_name_or_path is required: a model directory or a hub id");
  if (logging.output_dir.empty()) throw UsageError("--output_dir is required: where checkpoints and results go");
  if (!finetuning.do_train && !finetuning.do_eval) throw UsageError("nothing to do: give --do_train or --do_eval");
  require_built(*this);
  require_consistent_precision(*this);
  require_savable_best(*this);
  resolve_adapter_names(launcher, table);
  parse_lora_target(lora.lora_target);
  require_recompute_layers(finetuning.recompute_layers);
  require_launchable(*this);
  if (launcher.num_processes > 1) model.device = "cpu";
  if (logging.report_to != "tensorboard" && logging.report_to != "none" && logging.report_to != "all")
    throw UsageError("--report_to must be tensorboard, none or all; found '{}'", logging.report_to);
}

}  // namespace baichuan
