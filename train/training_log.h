// What a run writes down about itself, with the names and keys of the Hugging Face trainer and LLaMA-Factory:
//   trainer_log.jsonl     one row a log event, written whole and flushed at once
//   trainer_state.json    log_history and where the run stands; in every checkpoint and in the output directory
//   {train,eval}_results.json, all_results.json    the figures at the end
// Values stand unrounded; a key that does not apply to a row is absent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "train/loss_plot.h"

namespace baichuan {

// Where a row stands in the run, and the time at that moment.
struct LogPosition {
  std::int64_t step = 0;
  double epoch = 0;
  double elapsed_seconds = 0;
  std::optional<double> remaining_seconds;
};

struct TrainLogRow {
  LogPosition at;
  double loss = 0;  // mean since the row before
  double learning_rate = 0;
  std::optional<double> grad_norm;  // before clipping
  std::optional<double> tokens_per_second;
  std::optional<std::int64_t> non_finite_steps;  // left out since the start of the run
  std::optional<double> mfu;                     // share of the device's peak, 0 … 1
  std::optional<std::int64_t> peak_memory_bytes;
};

struct EvaluationRow {
  LogPosition at;
  double loss = 0;
  double runtime_seconds = 0;
  std::int64_t samples = 0;
  std::int64_t batches = 0;
  // Further figures, such as eval_perplexity, with their whole names.
  std::vector<std::pair<std::string, double>> more;
};

struct TrainSummary {
  LogPosition at;
  double mean_loss = 0;
  double runtime_seconds = 0;
  std::int64_t samples = 0;  // over all epochs
  std::int64_t steps = 0;
  double total_flos = 0;
};

class TrainingLog {
 public:
  // Touches no file: call start_fresh() or resume() next. Ranks other than the first keep the history, and write
  // nothing (`writes`).
  TrainingLog(std::filesystem::path output_dir, std::int64_t total_steps, double num_train_epochs, bool writes = true);

  // Starts with an empty trainer_log.jsonl.
  void start_fresh();
  // Goes on from a checkpoint's trainer_state.json: log_history becomes the checkpoint's, and trainer_log.jsonl keeps
  // the rows that it knows. Those that are missing there (another output directory, a row torn by a kill) are
  // written anew from log_history.
  // Throws CheckpointError when trainer_state.json is missing or is not one.
  void resume(const std::filesystem::path& checkpoint);

  void on_train_log(const TrainLogRow& row);
  void on_evaluation(const EvaluationRow& row);
  // The figures of the whole run: a row of log_history, train_results.json, all_results.json.
  void on_train_end(const TrainSummary& summary);
  // eval_results.json, merged into all_results.json: the figures of the last evaluation.
  void save_eval_results() const;

  void set_best(double metric, std::string checkpoint_directory);
  std::optional<double> best_metric() const { return best_metric_; }
  const std::string& best_checkpoint() const { return best_checkpoint_; }

  // Writes trainer_state.json into `directory`.
  void save_state(const std::filesystem::path& directory, const LogPosition& at, double total_flos) const;

  // training_loss.png and, where there was an evaluation, training_eval_loss.png.
  void save_plots() const;

  const Json& history() const { return history_; }
  std::vector<LossPoint> points(const std::string& key) const;

 private:
  void append_row(const OrderedJson& row);
  OrderedJson make_row(const LogPosition& at, const OrderedJson& losses, const OrderedJson& more) const;
  OrderedJson row_of_history(const Json& past) const;
  void restore_rows() const;

  std::filesystem::path output_dir_;
  std::int64_t total_steps_;
  double num_train_epochs_;
  bool writes_;
  Json history_ = Json::array();
  Json eval_results_ = Json::object();
  std::optional<double> best_metric_;
  std::string best_checkpoint_;
};

// Writes <name>_results.json and enters its figures in all_results.json (sorted keys, indent 4). `fresh` starts
// all_results.json anew.
void save_results(const std::filesystem::path& output_dir, const std::string& name, const Json& figures, bool fresh);

}  // namespace baichuan
