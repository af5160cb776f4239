#include "train/trainer.h"

#include <chrono>
#include <cmath>

#include "core/error.h"
#include "core/log.h"
#include "model/baichuan_for_causal_lm.h"
#include "train/batch.h"
#include "train/checkpoint_store.h"
#include "train/data_order.h"
#include "train/learning_rate_schedule.h"
#include "train/peak_memory.h"
#include "train/run_clock.h"
#include "train/run_state.h"
#include "train/tensorboard_writer.h"
#include "train/trained_weights.h"
#include "train/training_log.h"

namespace baichuan {

namespace {

OptimizerSettings optimizer_settings(const TrainerOptions& options) {
  const auto& o = options.optimization;
  return {o.adam_beta1, o.adam_beta2, o.adam_epsilon, o.weight_decay, o.optim == "adamw_hf", options.compat_2023};
}

TrainStepSettings step_settings(const TrainerOptions& options) {
  return {options.normalization,     options.optimization.gradient_accumulation_steps,
          options.max_grad_norm,     options.seed,
          options.optimization.fp16, options.loss_scale};
}

// A DeepSpeed file may leave out an epoch's incomplete last batch.
std::int64_t rows_per_epoch(const TrainerOptions& options, std::int64_t rows) {
  if (!options.deepspeed || !options.deepspeed->drop_last) return rows;
  const std::int64_t batch = options.optimization.per_device_train_batch_size;
  if (rows < batch)
    throw UsageError(
        "{}: 'dataloader_drop_last' needs at least one whole batch of {} rows; found {} rows; switch it off or lower "
        "--per_device_train_batch_size",
        options.deepspeed->origin, batch, rows);
  return rows - rows % batch;
}

// The flags' schedule, or the one of a DeepSpeed file.
ScheduleOptions run_schedule(const TrainerOptions& options, std::int64_t total_steps) {
  const auto& o = options.optimization;
  if (options.deepspeed)
    if (const auto schedule = options.deepspeed->schedule(o, total_steps)) return *schedule;
  return {parse_schedule(o.lr_scheduler_type), o.learning_rate, total_steps, o.warmup_steps, o.warmup_ratio};
}

DataOrderMode order_mode(const TrainerOptions& options) {
  if (options.optimization.disable_shuffling) return DataOrderMode::kSequential;
  return options.compat_2023 ? DataOrderMode::kTorch2023 : DataOrderMode::kCounter;
}

// "500" are steps, "0.1" is a share of all steps, rounded up.
std::int64_t interval(double value, std::int64_t max_steps) {
  if (value >= 1) return static_cast<std::int64_t>(value);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(value * static_cast<double>(max_steps))));
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// "…/checkpoint-120" -> 120
std::int64_t step_of(const std::string& checkpoint) {
  return std::stoll(checkpoint.substr(checkpoint.rfind('-') + 1));
}

struct EvalFigures {
  double loss = 0;        // what eval_loss reports
  double token_loss = 0;  // mean over labelled tokens
  double seconds = 0;
  std::int64_t batches = 0;
};

}  // namespace

class Trainer::Run {
 public:
  Run(const TrainerInputs& inputs, const TrainerOptions& options, const TrainerHooks& hooks);
  int train();
  void evaluate_only();

 private:
  void start();
  void resume(const std::filesystem::path& checkpoint);
  bool do_step();
  void after_step();
  void log_step();
  EvalFigures evaluate();
  void evaluate_and_log();
  void save_checkpoint();
  void finish();
  Batch batch_of(const SftDataset& rows, std::span<const std::int64_t> indices) const;
  LogPosition here() const;
  bool due(const std::string& strategy, std::int64_t every) const;
  std::optional<std::int64_t> save_limit() const {
    const std::int64_t limit = options_.logging.save_total_limit;
    return limit > 0 ? std::optional(limit) : std::nullopt;
  }
  double next_rate() const { return schedule_.rate(state_.updates); }

  TrainerInputs in_;
  TrainerOptions options_;
  TrainerHooks hooks_;
  std::filesystem::path output_dir_;

  StepPlan plan_;
  Optimizer optimizer_;
  TrainStep step_;
  DataOrder order_;
  StepSequence sequence_;
  LearningRateSchedule schedule_;
  CheckpointStore store_;
  TrainingLog log_;
  std::optional<RunClock> clock_;
  std::optional<TensorBoardWriter> board_;

  RunState state_;
  TrainStepResult last_;
  double last_rate_ = 0;
  std::optional<double> last_eval_loss_;
  std::int64_t eval_step_ = -1;
  std::optional<std::int64_t> best_step_;
  std::int64_t saved_step_ = -1;
  std::int64_t first_step_ = 0;
  std::int64_t flos_parameters_ = 0;
};

Trainer::Run::Run(const TrainerInputs& inputs, const TrainerOptions& options, const TrainerHooks& hooks)
    : in_(inputs),
      options_(options),
      hooks_(hooks),
      output_dir_(options.logging.output_dir),
      plan_(plan_steps(rows_per_epoch(options, inputs.train_rows.size()),
                       options.optimization.per_device_train_batch_size,
                       options.optimization.gradient_accumulation_steps,
                       options.optimization.num_train_epochs,
                       options.optimization.max_steps,
                       options.compat_2023)),
      optimizer_(inputs.weights.parameters(), optimizer_settings(options)),
      step_(inputs.model, inputs.adapter, optimizer_, step_settings(options)),
      order_(order_mode(options), inputs.train_rows.size(), options.seed),
      sequence_(plan_, [this](std::int64_t epoch) { return order_.order(epoch); }),
      schedule_(run_schedule(options, plan_.max_steps)),
      store_(output_dir_),
      log_(output_dir_, plan_.max_steps, options.optimization.num_train_epochs) {
  // The Python trainer's estimate of work: all parameters but the input embedding.
  for (const auto& named : inputs.model.named_parameters())
    if (named.key().find("embed_tokens") == std::string::npos) flos_parameters_ += named.value().numel();
}

void Trainer::Run::start() {
  const auto& logging = options_.logging;
  if (in_.exact_weights) in_.weights.load(*in_.exact_weights, optimizer_);
  const bool resumed = logging.resume_from_checkpoint.has_value() && *logging.resume_from_checkpoint != "false";
  if (resumed) {
    resume(resolve_resume_checkpoint(output_dir_, *logging.resume_from_checkpoint));
  } else if (logging.overwrite_output_dir) {
    store_.remove_all();
    log_.start_fresh();
  } else {
    require_no_checkpoints(output_dir_);
    log_.start_fresh();
  }
  first_step_ = state_.step;
  clock_.emplace(plan_.max_steps, state_.elapsed_seconds);
  if (logging.report_to == "none") return;
  const auto directory = tensorboard_directory(output_dir_, logging.logging_dir.value_or(""), resumed);
  board_.emplace(directory, resumed ? std::optional(state_.step) : std::nullopt);
  if (!resumed) board_->text(0, "options", "```json\n" + options_.resolved_options.dump(2) + "\n```");
}

void Trainer::Run::resume(const std::filesystem::path& checkpoint) {
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
  while (state_.step < plan_.max_steps) {
    if (!do_step()) break;
    after_step();
  }
  if (hooks_.progress != nullptr) hooks_.progress->finish();
  if (state_.step < plan_.max_steps) {
    if (options_.logging.save_strategy != "no") save_checkpoint();
    const int signal = hooks_.interrupt_signal();
    log::warning("stopped by signal {} after step {} of {}; go on with --resume_from_checkpoint latest", signal,
                 state_.step, plan_.max_steps);
    return signal;
  }
  finish();
  return 0;
}

// Returns false, with everything as it was before the step, when a signal asks to stop.
bool Trainer::Run::do_step() {
  if (hooks_.interrupt_signal() != 0) return false;
  const DataPosition before = sequence_.position();
  const auto order_before = order_.state();
  const PlannedStep planned = sequence_.next();
  std::vector<Batch> batches;
  for (const auto& micro : planned.micro_batches) batches.push_back(batch_of(in_.train_rows, micro.rows));
  last_rate_ = next_rate();
  if (!step_.run(batches, state_.step + 1, last_rate_, last_, [this] { return hooks_.interrupt_signal() != 0; })) {
    order_.restore(order_before);
    sequence_.restore(before);
    return false;
  }
  ++state_.step;
  if (!last_.skipped) ++state_.updates;
  state_.position = sequence_.position();
  state_.loss_since_log += last_.loss;
  state_.loss_in_all += last_.loss;
  ++state_.steps_since_log;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    state_.total_flos += 6.0 * static_cast<double>(batches[i].ids.numel()) * static_cast<double>(flos_parameters_);
    state_.samples_seen += static_cast<std::int64_t>(planned.micro_batches[i].rows.size());
    if (hooks_.observer != nullptr) hooks_.observer->on_micro_batch(planned.micro_batches[i], last_.micro_losses[i]);
  }
  if (hooks_.observer != nullptr) hooks_.observer->on_step(state_.step, last_rate_, last_);
  clock_->step_done(state_.step, last_.tokens);
  return true;
}

bool Trainer::Run::due(const std::string& strategy, std::int64_t every) const {
  if (strategy == "steps") return state_.step % every == 0;
  return strategy == "epoch" && sequence_.at_epoch_end();
}

void Trainer::Run::after_step() {
  const auto& logging = options_.logging;
  const Progress progress{state_.step, plan_.max_steps, last_.loss, clock_->tokens_per_second(),
                          clock_->remaining_seconds()};
  if (hooks_.progress != nullptr) hooks_.progress->update(progress);
  const bool first = logging.logging_first_step && state_.step == 1;
  clock_->pause_steps();
  if (first || due(logging.logging_strategy, interval(logging.logging_steps, plan_.max_steps))) log_step();
  const double eval_steps = logging.eval_steps.value_or(logging.logging_steps);
  if (due(logging.evaluation_strategy, interval(eval_steps, plan_.max_steps))) evaluate_and_log();
  if (due(logging.save_strategy, interval(logging.save_steps, plan_.max_steps))) save_checkpoint();
  clock_->resume_steps();
}

LogPosition Trainer::Run::here() const {
  const double epoch = sequence_.position().epoch_done(plan_);
  return {state_.step, epoch, clock_->elapsed_seconds(), clock_->remaining_seconds()};
}

void Trainer::Run::log_step() {
  TrainLogRow row;
  row.at = here();
  row.loss = state_.loss_since_log / static_cast<double>(state_.steps_since_log);
  row.learning_rate = options_.compat_2023 ? next_rate() : last_rate_;
  row.grad_norm = last_.grad_norm;
  row.tokens_per_second = clock_->tokens_per_second();
  row.peak_memory_bytes = peak_memory_bytes();
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

EvalFigures Trainer::Run::evaluate() {
  const double began = seconds_now();
  order_.on_evaluation();
  const std::int64_t batch_size = options_.optimization.per_device_eval_batch_size;
  EvalFigures figures;
  double sum = 0;
  double sum_of_batch_means = 0;
  std::int64_t tokens = 0;
  for (std::int64_t begin = 0; begin < in_.eval_rows->size(); begin += batch_size) {
    std::vector<std::int64_t> indices;
    for (std::int64_t i = begin; i < std::min(begin + batch_size, in_.eval_rows->size()); ++i) indices.push_back(i);
    const Batch batch = batch_of(*in_.eval_rows, indices);
    const double loss = step_.evaluate(batch);
    sum += loss;
    tokens += batch.target_tokens;
    if (batch.target_tokens > 0)
      sum_of_batch_means += loss / static_cast<double>(batch.target_tokens) * static_cast<double>(indices.size());
    ++figures.batches;
  }
  figures.token_loss = tokens > 0 ? sum / static_cast<double>(tokens) : 0;
  figures.loss =
      options_.compat_2023 ? sum_of_batch_means / static_cast<double>(in_.eval_rows->size()) : figures.token_loss;
  figures.seconds = seconds_now() - began;
  return figures;
}

void Trainer::Run::evaluate_and_log() {
  if (in_.eval_rows == nullptr) return;
  const EvalFigures figures = evaluate();
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
}

void Trainer::Run::save_checkpoint() {
  if (saved_step_ == state_.step) return;
  const bool with_masters = !in_.weights.saves_masters();
  const std::uint64_t bytes = in_.weights.saved_bytes() + optimizer_state_bytes(optimizer_, with_masters);
  auto pending = store_.begin(state_.step, bytes);
  const auto& directory = pending.directory();
  in_.weights.save(directory, optimizer_);
  save_optimizer_state(optimizer_, with_masters, directory);
  state_.loss_scale = step_.loss_scale().state();
  state_.schedule = schedule_.state();
  state_.data_order = order_.state();
  state_.elapsed_seconds = clock_->elapsed_seconds();
  save_run_state(directory, state_, options_.resolved_options, options_.data_fingerprint);
  const bool evaluated = last_eval_loss_.has_value() && eval_step_ == state_.step;
  const bool better = evaluated && (!log_.best_metric() || *last_eval_loss_ < *log_.best_metric());
  if (better && options_.logging.load_best_model_at_end) {
    best_step_ = state_.step;
    log_.set_best(*last_eval_loss_, (output_dir_ / fmt::format("checkpoint-{}", state_.step)).string());
  }
  log_.save_state(directory, here(), state_.total_flos);
  pending.finish();
  saved_step_ = state_.step;
  store_.rotate(save_limit(), best_step_);
}

void Trainer::Run::finish() {
  const auto& logging = options_.logging;
  TrainSummary summary;
  summary.at = here();
  summary.mean_loss = state_.step > 0 ? state_.loss_in_all / static_cast<double>(state_.step) : 0;
  summary.runtime_seconds = clock_->elapsed_seconds();
  summary.samples = state_.samples_seen;
  summary.steps = state_.step;
  summary.total_flos = state_.total_flos;
  if (logging.load_best_model_at_end && best_step_) {
    log::info("loading the best weights, eval_loss {:.4f}, from {}", *log_.best_metric(), log_.best_checkpoint());
    in_.weights.load(output_dir_ / fmt::format("checkpoint-{}", *best_step_), optimizer_);
  }
  in_.weights.save(output_dir_, optimizer_);
  log_.on_train_end(summary);
  if (in_.eval_rows != nullptr) {
    evaluate_and_log();
    log_.save_eval_results();
  }
  log_.save_state(output_dir_, here(), state_.total_flos);
  store_.rotate(save_limit(), best_step_, /*finished=*/true);
  if (options_.finetuning.plot_loss) log_.save_plots();
}

void Trainer::Run::evaluate_only() {
  if (in_.eval_rows == nullptr) throw UsageError("--do_eval needs rows to evaluate; give --val_size");
  clock_.emplace(plan_.max_steps);
  log_.start_fresh();
  evaluate_and_log();
  log_.save_eval_results();
}

Batch Trainer::Run::batch_of(const SftDataset& rows, std::span<const std::int64_t> indices) const {
  std::vector<SftExample> examples;
  for (const std::int64_t index : indices) examples.push_back(rows.example(index));
  std::vector<BatchRow> views;
  for (std::size_t i = 0; i < examples.size(); ++i) views.push_back({examples[i].ids, examples[i].labels, indices[i]});
  return make_batch(views, in_.model.config().pad_token_id, in_.model.device());
}

Trainer::Trainer(const TrainerInputs& inputs, const TrainerOptions& options, const TrainerHooks& hooks)
    : run_(std::make_unique<Run>(inputs, options, hooks)) {}

Trainer::~Trainer() = default;

int Trainer::train() {
  return run_->train();
}

void Trainer::evaluate_only() {
  run_->evaluate_only();
}

}  // namespace baichuan
