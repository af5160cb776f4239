#include "train/trainer.h"

#include <cmath>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "distributed/process_group.h"
#include "model/baichuan_for_causal_lm.h"
#include "train/checkpoint_saver.h"
#include "train/checkpoint_store.h"
#include "train/data_order.h"
#include "train/flop_utilisation.h"
#include "train/learning_rate_schedule.h"
#include "train/optimizer_state.h"
#include "train/peak_memory.h"
#include "train/run_clock.h"
#include "train/run_settings.h"
#include "train/run_state.h"
#include "train/start_or_resume.h"
#include "train/step_batches.h"
#include "train/tensorboard_writer.h"
#include "train/trained_weights.h"
#include "train/training_log.h"

namespace baichuan {

namespace {

// "…/checkpoint-120" -> 120
std::int64_t step_of(const std::string& checkpoint) {
  return std::stoll(checkpoint.substr(checkpoint.rfind('-') + 1));
}

std::optional<CheckpointStore> open_store(const TrainerOptions& options, bool keeps) {
  if (!keeps) return {};
  return std::make_optional<CheckpointStore>(options.logging.output_dir);
}

// Verified by the leading rank, the same for all.
std::optional<std::filesystem::path> find_resumed_checkpoint(const TrainerOptions& options, ProcessGroup& group) {
  const LoggingOptions& logging = options.logging;
  if (!resumes(logging)) return {};
  if (options.resumed_is_verified) return *logging.resume_from_checkpoint;
  std::string found;
  if (group.rank() == 0)
    found = resolve_resume_checkpoint(logging.output_dir, *logging.resume_from_checkpoint).string();
  return group.gather_texts(found, "the verified checkpoint").front();
}

Optimizer make_optimizer(const TrainerInputs& inputs, const TrainerOptions& options) {
  if (!options.finetuning.do_train) return Optimizer({}, optimizer_settings(options));  // evaluation needs no state
  if (inputs.sharded != nullptr) return Optimizer(*inputs.sharded, optimizer_settings(options));
  return Optimizer(inputs.weights.parameters(), optimizer_settings(options));
}

void remove_results(const std::filesystem::path& output_dir) {
  for (const char* const name : {"trainer_state.json", "all_results.json", "train_results.json", "eval_results.json",
                                 "training_loss.png", "training_eval_loss.png"})
    remove_quietly(output_dir / name);
}

}  // namespace

class Trainer::Run {
 public:
  Run(const TrainerInputs& inputs, const TrainerOptions& options, const TrainerHooks& hooks);
  int train();
  int evaluate_only();

 private:
  void start();
  void resume();
  bool do_step();
  void count_step(const PlannedStep& planned, const StepBatches& batches);
  void count_non_finite();
  void after_step();
  void log_step();
  EvaluationFigures evaluate(const std::function<int()>& interrupt_signal);
  bool evaluate_and_log(const std::function<int()>& interrupt_signal = {});
  CheckpointSaverOptions saver_options();
  void save_checkpoint();
  std::uint64_t checkpoint_bytes() const;
  CheckpointPart checkpoint_part();
  void require_disk_space() const;
  bool is_better(double eval_loss) const;
  void load_best_weights();
  void finish();
  LogPosition here() const;
  bool due(const std::string& strategy, double every) const;
  bool leads() const { return group_.rank() == 0; }
  std::optional<std::int64_t> save_limit() const {
    const std::int64_t limit = options_.logging.save_total_limit;
    return limit > 0 ? std::optional(limit) : std::nullopt;
  }
  double next_rate() const { return schedule_.rate(state_.updates); }

  TrainerInputs in_;
  TrainerOptions options_;
  TrainerHooks hooks_;
  std::filesystem::path output_dir_;
  std::unique_ptr<ProcessGroup> solo_;
  ProcessGroup& group_;

  SharedDisks disks_;
  std::optional<CheckpointStore> store_;  // of a rank that keeps an output directory
  CheckpointSaver saver_;
  std::optional<std::filesystem::path> resume_from_;
  StepPlan plan_;
  Optimizer optimizer_;
  TrainStep step_;
  DataOrder order_;
  StepSequence sequence_;
  LearningRateSchedule schedule_;
  TrainingLog log_;
  std::optional<RunClock> clock_;
  std::optional<TensorBoardWriter> board_;

  RunState state_;
  TrainStepResult last_;
  double last_rate_ = 0;
  int stop_signal_ = 0;
  std::optional<double> last_eval_loss_;
  std::int64_t eval_step_ = -1;
  std::int64_t non_finite_in_a_row_ = 0;
  std::optional<std::int64_t> best_step_;
  std::int64_t saved_step_ = -1;
  std::int64_t flos_parameters_ = 0;
  FlopUtilisation utilisation_;
};

Trainer::Run::Run(const TrainerInputs& inputs, const TrainerOptions& options, const TrainerHooks& hooks)
    : in_(inputs),
      options_(options),
      hooks_(hooks),
      output_dir_(options.logging.output_dir),
      solo_(inputs.group == nullptr ? make_solo_group() : nullptr),
      group_(inputs.group == nullptr ? *solo_ : *inputs.group),
      disks_(inputs.disks.value_or(SharedDisks(group_.size()))),
      store_(open_store(options, disks_.keeps(group_.rank()))),
      saver_(group_, disks_, store_ ? &*store_ : nullptr, saver_options()),
      resume_from_(find_resumed_checkpoint(options, group_)),
      plan_(plan_run(options, inputs.train_rows.size(), group_.size(), resume_from_)),
      optimizer_(make_optimizer(inputs, options)),
      step_(inputs.model, inputs.adapter, optimizer_, step_settings(options, plan_), &group_),
      order_(order_mode(options), inputs.train_rows.size(), options.seed, group_.size()),
      sequence_(plan_, [this](std::int64_t epoch) { return order_.order(epoch); }),
      schedule_(run_schedule(options, plan_.max_steps)),
      log_(output_dir_, plan_.max_steps, options.optimization.num_train_epochs, /*writes=*/group_.rank() == 0),
      utilisation_(inputs.model, inputs.train_rows, inputs.adapter != nullptr) {
  // The Python trainer's estimate of work: all parameters but the input embedding.
  for (const auto& named : inputs.model.named_parameters())
    if (named.key().find("embed_tokens") == std::string::npos) flos_parameters_ += named.value().numel();
}

void Trainer::Run::start() {
  const auto& logging = options_.logging;
  if (in_.exact_weights) in_.weights.load(*in_.exact_weights, optimizer_);
  if (resume_from_) {
    resume();
  } else {
    if (store_ && logging.overwrite_output_dir) {
      store_->remove_all();
      remove_results(output_dir_);
    } else if (store_) {
      require_no_checkpoints(output_dir_);
    }
    log_.start_fresh();
  }
  if (store_) require_disk_space();
  clock_.emplace(plan_.max_steps, state_.elapsed_seconds);
  if (logging.report_to == "none" || !leads()) return;
  const auto directory = tensorboard_directory(output_dir_, logging.logging_dir.value_or(""), resume_from_.has_value());
  board_.emplace(directory, resume_from_ ? std::optional(state_.step) : std::nullopt);
  if (!resume_from_) board_->text(0, "options", "```json\n" + options_.resolved_options.dump(2) + "\n```");
}

void Trainer::Run::resume() {
  const auto& checkpoint = *resume_from_;
  check_resumed_options(checkpoint, options_.resolved_options, options_.data_fingerprint);
  state_ = load_run_state(checkpoint);
  in_.weights.load(checkpoint, optimizer_);
  load_optimizer_state(optimizer_, checkpoint);
  optimizer_.set_steps(state_.updates);
  order_.restore(state_.data_order);
  sequence_.restore(state_.position);
  step_.loss_scale().restore(state_.loss_scale);
  schedule_.restore(state_.schedule);
  log_.resume(checkpoint);
  saved_step_ = state_.step;
  if (!log_.best_checkpoint().empty()) best_step_ = step_of(log_.best_checkpoint());
  log::info("resuming from {} at step {} of {}", checkpoint.string(), state_.step, plan_.max_steps);
}

int Trainer::Run::train() {
  start();
  log::info("{} training rows, {} evaluation rows; {} micro-batches an epoch, {} steps in all; {} trained parameters",
            in_.train_rows.size(), in_.eval_rows == nullptr ? 0 : in_.eval_rows->size(), plan_.micro_batches_per_epoch,
            plan_.max_steps, optimizer_.trained_elements());
  try {
    while (state_.step < plan_.max_steps && stop_signal_ == 0) {
      if (!do_step()) break;
      after_step();
    }
  } catch (const TrainingError&) {  // on every rank
    saver_.finish();
    throw;
  }
  if (hooks_.progress != nullptr) hooks_.progress->finish();
  optimizer_.wait_for_values();
  if (state_.step < plan_.max_steps) {
    if (options_.logging.save_strategy != "no") save_checkpoint();
    saver_.finish();
    group_.gather_texts("stopped", "the end of the run");  // nobody leaves while others still talk to it
    log::warning("stopped by signal {} after step {} of {}; go on with --resume_from_checkpoint latest", stop_signal_,
                 state_.step, plan_.max_steps);
    return stop_signal_;
  }
  finish();
  return 0;
}

// Returns false, with everything as it was before the step, when a signal asks to stop.
bool Trainer::Run::do_step() {
  const bool alone = group_.size() == 1;  // several ranks agree within a step
  if (alone && (stop_signal_ = hooks_.interrupt_signal()) != 0) return false;
  const DataPosition before = sequence_.position();
  const auto order_before = order_.state();
  const PlannedStep planned = sequence_.next();
  group_.enter_phase(fmt::format("in step {}", state_.step + 1));
  const StepBatches batches =
      make_step_batches(planned, in_.train_rows, in_.model.config().pad_token_id, in_.model.device(), group_);
  last_rate_ = next_rate();
  const auto interrupt = [&] { return alone ? (stop_signal_ = hooks_.interrupt_signal()) : hooks_.interrupt_signal(); };
  if (!step_.run(batches.work(), state_.step + 1, last_rate_, last_, interrupt)) {
    order_.restore(order_before);
    sequence_.restore(before);
    return false;
  }
  stop_signal_ = std::max(stop_signal_, last_.stop_signal);
  count_step(planned, batches);
  return true;
}

void Trainer::Run::count_step(const PlannedStep& planned, const StepBatches& batches) {
  ++state_.step;
  if (!last_.skipped) ++state_.updates;
  state_.position = sequence_.position();
  if (last_.non_finite.empty()) {
    state_.loss_since_log += last_.loss;
    state_.loss_in_all += last_.loss;
    ++state_.steps_since_log;
  }
  count_non_finite();
  state_.total_flos += 6.0 * static_cast<double>(batches.padded_tokens) * static_cast<double>(flos_parameters_);
  state_.samples_seen += batches.rows;
  if (hooks_.observer != nullptr) {
    for (std::size_t i = 0; i < planned.micro_batches.size(); ++i)
      hooks_.observer->on_micro_batch(planned.micro_batches[i], last_.micro_losses[i]);
    hooks_.observer->on_step(state_.step, last_rate_, last_);
  }
  clock_->step_done(state_.step, last_.tokens);
}

// Weights that have diverged never come back: a run does not go on skipping.
void Trainer::Run::count_non_finite() {
  constexpr std::int64_t kMostInARow = 10;
  if (last_.non_finite.empty()) {
    non_finite_in_a_row_ = 0;
    return;
  }
  ++state_.non_finite_steps;
  if (++non_finite_in_a_row_ == kMostInARow)
    throw TrainingError("expected one of {} steps in a row to be finite; the last: {}", kMostInARow, last_.non_finite);
  if (leads()) log::warning("{}; the step is left out, {} so far", last_.non_finite, state_.non_finite_steps);
}

bool Trainer::Run::due(const std::string& strategy, double every) const {
  if (strategy == "steps") return state_.step % interval(every, plan_.max_steps) == 0;
  return strategy == "epoch" && sequence_.at_epoch_end();
}

void Trainer::Run::after_step() {
  const auto& logging = options_.logging;
  saver_.poll();
  const Progress progress{state_.step, plan_.max_steps, last_.loss, clock_->tokens_per_second(),
                          clock_->remaining_seconds()};
  if (hooks_.progress != nullptr) hooks_.progress->update(progress);
  const bool first = logging.logging_first_step && state_.step == 1;
  clock_->pause_steps();
  if (first || due(logging.logging_strategy, logging.logging_steps)) log_step();
  if (due(logging.evaluation_strategy, logging.eval_steps.value_or(logging.logging_steps))) evaluate_and_log();
  if (due(logging.save_strategy, logging.save_steps)) save_checkpoint();
  clock_->resume_steps();
}

LogPosition Trainer::Run::here() const {
  const double epoch = sequence_.position().epoch_done(plan_);
  return {state_.step, epoch, clock_->elapsed_seconds(), clock_->remaining_seconds()};
}

void Trainer::Run::log_step() {
  if (state_.steps_since_log == 0) return;  // all were left out, and said so
  TrainLogRow row;
  row.at = here();
  row.loss = state_.loss_since_log / static_cast<double>(state_.steps_since_log);
  if (state_.non_finite_steps > 0) row.non_finite_steps = state_.non_finite_steps;
  row.learning_rate = options_.compat_2023 ? next_rate() : last_rate_;
  if (std::isfinite(last_.grad_norm)) row.grad_norm = last_.grad_norm;
  row.tokens_per_second = clock_->tokens_per_second();
  row.peak_memory_bytes = peak_memory_bytes(in_.model.device());
  if (row.tokens_per_second) row.mfu = utilisation_.share_of_peak(*row.tokens_per_second / group_.size());
  state_.loss_since_log = 0;
  state_.steps_since_log = 0;
  log_.on_train_log(row);
  if (hooks_.progress != nullptr)
    hooks_.progress->log({state_.step, plan_.max_steps, row.loss, row.tokens_per_second, row.at.remaining_seconds});
  if (!board_) return;
  const std::pair<std::string, double> values[] = {{"train/loss", row.loss},
                                                   {"train/learning_rate", row.learning_rate},
                                                   {"train/grad_norm", last_.grad_norm},
                                                   {"train/epoch", row.at.epoch},
                                                   {"train/tokens_per_second", row.tokens_per_second.value_or(0)}};
  board_->scalars(state_.step, values);
}

EvaluationFigures Trainer::Run::evaluate(const std::function<int()>& interrupt_signal) {
  order_.on_evaluation();
  const EvaluationPlan plan{options_.optimization.per_device_eval_batch_size, options_.compat_2023,
                            in_.model.config().pad_token_id};
  return evaluate_rows(step_, *in_.eval_rows, plan, in_.model.device(), group_, interrupt_signal);
}

// False when a signal has stopped it before its end; then nothing is logged.
bool Trainer::Run::evaluate_and_log(const std::function<int()>& interrupt_signal) {
  if (in_.eval_rows == nullptr) return true;
  const EvaluationFigures figures = evaluate(interrupt_signal);
  stop_signal_ = std::max(stop_signal_, figures.stop_signal);
  if (figures.stop_signal != 0) return false;
  if (!std::isfinite(figures.loss))
    throw TrainingError(
        "step {}: expected a finite eval_loss; found {}; the weights have diverged: lower the learning rate",
        state_.step, figures.loss);
  EvaluationRow row{here(), figures.loss, figures.seconds, in_.eval_rows->size(), figures.batches, {}};
  row.more.emplace_back("eval_perplexity", std::exp(figures.token_loss));
  log_.on_evaluation(row);
  schedule_.observe(figures.loss);
  last_eval_loss_ = figures.loss;
  eval_step_ = state_.step;
  if (hooks_.observer != nullptr) hooks_.observer->on_evaluation(state_.step, figures.loss);
  log::info("step {}: eval_loss {:.4f} over {} rows in {:.1f} s", state_.step, figures.loss, row.samples,
            figures.seconds);
  if (board_) board_->scalar(state_.step, "eval/loss", figures.loss);
  return true;
}

bool Trainer::Run::is_better(double eval_loss) const {
  const auto& best = log_.best_metric();
  if (!best) return true;
  return options_.logging.greater_is_better.value_or(false) ? eval_loss > *best : eval_loss < *best;
}

// On this rank's disk.
std::uint64_t Trainer::Run::checkpoint_bytes() const {
  const std::uint64_t state = optimizer_state_bytes(optimizer_, !in_.weights.saves_masters());
  const auto writers = static_cast<std::uint64_t>(disks_.writers_beside(group_.rank()));
  return in_.weights.saved_bytes() + state * writers / static_cast<std::uint64_t>(group_.size());
}

// A full disk stops the run now and not after days.
void Trainer::Run::require_disk_space() const {
  const std::int64_t saves = planned_saves(options_, plan_, state_.step);
  const std::uint64_t needed = static_cast<std::uint64_t>(saves) * checkpoint_bytes() + in_.weights.saved_bytes();
  const std::uint64_t free = free_disk_bytes(output_dir_);
  if (needed <= free) return;
  throw MachineError(
      "expected {:.1f} GB free in {} for {} checkpoints of {:.1f} GB and the final weights; found {:.1f} GB; give a "
      "--save_total_limit, a larger --save_steps or another --output_dir",
      static_cast<double>(needed) / 1e9, output_dir_.string(), saves, static_cast<double>(checkpoint_bytes()) / 1e9,
      static_cast<double>(free) / 1e9);
}

CheckpointSaverOptions Trainer::Run::saver_options() {
  CheckpointSaverOptions saving;
  saving.in_background = options_.logging.save_in_background;
  saving.local_ranks = in_.local_ranks;
  saving.on_complete = [this] { store_->rotate(save_limit(), best_step_); };
  return saving;
}

void Trainer::Run::save_checkpoint() {
  if (saved_step_ == state_.step) return;
  saver_.finish();  // only then may the best be another one
  saved_step_ = state_.step;
  const bool evaluated = last_eval_loss_.has_value() && eval_step_ == state_.step;
  if (evaluated && options_.logging.load_best_model_at_end && is_better(*last_eval_loss_)) {
    best_step_ = state_.step;
    log_.set_best(*last_eval_loss_, (output_dir_ / fmt::format("checkpoint-{}", state_.step)).string());
  }
  saver_.save(state_.step, checkpoint_bytes(), checkpoint_part());
}

// What this rank writes: its share of the weights and of the optimiser's state; one that keeps a directory the run's
// too.
CheckpointPart Trainer::Run::checkpoint_part() {
  CheckpointPart part;
  in_.weights.add_to(part, optimizer_, disks_.place_of(group_.rank()), disks_.writers_beside(group_.rank()));
  add_optimizer_state(part, optimizer_, !in_.weights.saves_masters(), group_.rank(), group_.size());
  if (!store_) return part;
  state_.loss_scale = step_.loss_scale().state();
  state_.schedule = schedule_.state();
  state_.data_order = order_.state();
  state_.elapsed_seconds = clock_->elapsed_seconds();
  state_.micro_batches_per_step = plan_.accumulation;
  state_.ranks = group_.size();
  part.add_files([this, state = state_](const auto& directory) {
    save_run_state(directory, state, options_.resolved_options, options_.data_fingerprint);
  });
  part.add_files([log = log_, at = here(), flos = state_.total_flos](const auto& directory) {
    log.save_state(directory, at, flos);
  });
  return part;
}

// The best may be in another run's folder, or gone; the last weights are kept then.
void Trainer::Run::load_best_weights() {
  if (!options_.logging.load_best_model_at_end || !best_step_) return;
  std::filesystem::path best = output_dir_ / fmt::format("checkpoint-{}", *best_step_);
  if (!std::filesystem::exists(best)) best = log_.best_checkpoint();
  if (!std::filesystem::exists(best)) {
    log::warning("the best weights, eval_loss {:.4f}, were in {}, which is gone: the last weights are kept",
                 *log_.best_metric(), best.string());
    return;
  }
  log::info("loading the best weights, eval_loss {:.4f}, from {}", *log_.best_metric(), best.string());
  in_.weights.load(best, optimizer_);
}

void Trainer::Run::finish() {
  const auto& logging = options_.logging;
  saver_.finish();
  TrainSummary summary;
  summary.at = here();
  const std::int64_t with_loss = state_.step - state_.non_finite_steps;
  summary.mean_loss = with_loss > 0 ? state_.loss_in_all / static_cast<double>(with_loss) : 0;
  summary.runtime_seconds = clock_->elapsed_seconds();
  summary.samples = state_.samples_seen;
  summary.steps = state_.step;
  summary.total_flos = state_.total_flos;
  load_best_weights();
  in_.weights.save(output_dir_, optimizer_, leads());
  log_.on_train_end(summary);
  if (logging.evaluation_strategy != "no" || options_.finetuning.do_eval) {
    evaluate_and_log();
    log_.save_eval_results();
  }
  if (store_) store_->rotate(save_limit(), best_step_, /*finished=*/true);
  if (leads()) {
    log_.save_state(output_dir_, here(), state_.total_flos);
    if (options_.finetuning.plot_loss) log_.save_plots();
  }
  group_.gather_texts("done", "the end of the run");
}

int Trainer::Run::evaluate_only() {
  if (in_.eval_rows == nullptr) throw UsageError("--do_eval needs rows to evaluate; give --val_size");
  clock_.emplace(plan_.max_steps);
  if (!evaluate_and_log(hooks_.interrupt_signal)) return stop_signal_;
  log_.save_eval_results();
  return 0;
}

Trainer::Trainer(const TrainerInputs& inputs, const TrainerOptions& options, const TrainerHooks& hooks)
    : run_(std::make_unique<Run>(inputs, options, hooks)) {}

Trainer::~Trainer() = default;

int Trainer::train() {
  return run_->train();
}

int Trainer::evaluate_only() {
  return run_->evaluate_only();
}

}  // namespace baichuan
