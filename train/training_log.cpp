#include "train/training_log.h"

#include <cerrno>
#include <cmath>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "core/error.h"
#include "core/files.h"
#include "train/run_clock.h"

namespace baichuan {

namespace {

constexpr const char* kLogFile = "trainer_log.jsonl";
constexpr const char* kStateFile = "trainer_state.json";

double percentage(std::int64_t step, std::int64_t total_steps) {
  if (total_steps <= 0) return 100;
  return std::round(1e4 * static_cast<double>(step) / static_cast<double>(total_steps)) / 100;
}

double per_second(std::int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

template <class T>
void put(OrderedJson& row, const char* key, const std::optional<T>& value) {
  if (value) row[key] = *value;
}

void append_line(const fs::path& path, const std::string& line) {
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
  const std::string bytes = line + "\n";
  const ssize_t written = fd < 0 ? -1 : ::write(fd, bytes.data(), bytes.size());
  const int cause = written < 0 ? errno : ENOSPC;
  if (fd >= 0) ::close(fd);
  if (written != static_cast<ssize_t>(bytes.size()))
    throw MachineError("cannot write {}: {}; free some disk space or choose another --output_dir", path.string(),
                       std::strerror(cause));
}

// Is this line of trainer_log.jsonl about the event of that row of log_history?
bool tells_the_same(const std::string& line, const Json& past) {
  const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!row.is_object() || !row.contains("current_steps") || row.at("current_steps") != past.at("step")) return false;
  for (const char* key : {"loss", "eval_loss", "learning_rate"})
    if (row.contains(key) != past.contains(key) || (row.contains(key) && row.at(key) != past.at(key))) return false;
  return true;
}

void write_sorted(const fs::path& path, const Json& value) {
  write_file_atomically(path, value.dump(4, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

TrainingLog::TrainingLog(fs::path output_dir, std::int64_t total_steps, double num_train_epochs, bool writes)
    : output_dir_(std::move(output_dir)),
      total_steps_(total_steps),
      num_train_epochs_(num_train_epochs),
      writes_(writes) {}

void TrainingLog::start_fresh() {
  if (writes_) write_file_atomically(output_dir_ / kLogFile, "");
}

void TrainingLog::resume(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kStateFile;
  if (!fs::exists(path))
    throw CheckpointError("a checkpoint to resume from holds {}; {} has none; resume from another checkpoint",
                          kStateFile, checkpoint.string());
  try {
    const Json state = read_json_file(path);
    history_ = state.at("log_history");
    const Json& best = state.at("best_metric");
    best_metric_ = best.is_null() ? std::nullopt : std::optional(best.get<double>());
    const Json& where = state.at("best_model_checkpoint");
    best_checkpoint_ = where.is_null() ? "" : where.get<std::string>();
    if (writes_) restore_rows();
  } catch (const Json::exception& error) {
    throw CheckpointError(
        "{} was expected to hold log_history, best_metric, best_model_checkpoint and global_step; "
        "{}; resume from another checkpoint",
        path.string(), error.what());
  }
}

// Row by row: the file's own where it tells the same as log_history, else one made of log_history (the file is in
// another directory, was torn by a kill, or has gone on along another branch).
void TrainingLog::restore_rows() const {
  const fs::path path = output_dir_ / kLogFile;
  const std::string old = fs::exists(path) ? read_file(path) : "";
  std::size_t begin = 0;
  const auto next_line = [&] {
    const std::size_t end = old.find('\n', begin);
    const std::string line = end == std::string::npos ? "" : old.substr(begin, end - begin);
    begin = end == std::string::npos ? old.size() : end + 1;
    return line;
  };
  std::string rows;
  for (const Json& past : history_) {
    if (!past.contains("loss") && !past.contains("eval_loss")) continue;
    const std::string line = next_line();
    rows += (tells_the_same(line, past) ? line : to_json_line(row_of_history(past))) + "\n";
  }
  write_file_atomically(path, rows);
}

OrderedJson TrainingLog::row_of_history(const Json& past) const {
  OrderedJson losses = OrderedJson::object();
  for (const char* key : {"loss", "eval_loss", "learning_rate", "grad_norm"})
    if (past.contains(key)) losses[key] = past.at(key);
  const LogPosition at{.step = past.at("step").get<std::int64_t>(), .epoch = past.at("epoch").get<double>()};
  OrderedJson row = make_row(at, losses, OrderedJson::object());
  row.erase("elapsed_time");  // log_history does not know it
  return row;
}

OrderedJson TrainingLog::make_row(const LogPosition& at, const OrderedJson& losses, const OrderedJson& more) const {
  OrderedJson row{{"current_steps", at.step}, {"total_steps", total_steps_}};
  row.update(losses);
  row["epoch"] = at.epoch;
  row["percentage"] = percentage(at.step, total_steps_);
  row["elapsed_time"] = format_duration(at.elapsed_seconds);
  if (at.remaining_seconds) row["remaining_time"] = format_duration(*at.remaining_seconds);
  row.update(more);
  return row;
}

void TrainingLog::append_row(const OrderedJson& row) {
  if (writes_) append_line(output_dir_ / kLogFile, to_json_line(row));
}

void TrainingLog::on_train_log(const TrainLogRow& row) {
  OrderedJson more = OrderedJson::object();
  put(more, "tokens_per_second", row.tokens_per_second);
  put(more, "grad_norm", row.grad_norm);
  put(more, "non_finite_steps", row.non_finite_steps);
  put(more, "mfu", row.mfu);
  put(more, "peak_memory_bytes", row.peak_memory_bytes);
  Json past{{"step", row.at.step}, {"epoch", row.at.epoch}, {"loss", row.loss}, {"learning_rate", row.learning_rate}};
  if (row.grad_norm) past["grad_norm"] = *row.grad_norm;
  history_.push_back(std::move(past));
  append_row(make_row(row.at, {{"loss", row.loss}, {"learning_rate", row.learning_rate}}, more));
}

void TrainingLog::on_evaluation(const EvaluationRow& row) {
  eval_results_ = {{"epoch", row.at.epoch},
                   {"eval_loss", row.loss},
                   {"eval_runtime", row.runtime_seconds},
                   {"eval_samples_per_second", per_second(row.samples, row.runtime_seconds)},
                   {"eval_steps_per_second", per_second(row.batches, row.runtime_seconds)}};
  for (const auto& [name, value] : row.more) eval_results_[name] = value;
  Json past = eval_results_;
  past["step"] = row.at.step;
  history_.push_back(std::move(past));
  OrderedJson more = OrderedJson::object();
  for (const auto& [name, value] : row.more) more[name] = value;
  append_row(make_row(row.at, {{"eval_loss", row.loss}}, more));
}

void TrainingLog::on_train_end(const TrainSummary& summary) {
  const Json figures{{"epoch", summary.at.epoch},
                     {"train_loss", summary.mean_loss},
                     {"train_runtime", summary.runtime_seconds},
                     {"train_samples_per_second", per_second(summary.samples, summary.runtime_seconds)},
                     {"train_steps_per_second", per_second(summary.steps, summary.runtime_seconds)}};
  Json past = figures;
  past["step"] = summary.at.step;
  past["total_flos"] = summary.total_flos;  // of the state alone, as the Python stack had it
  history_.push_back(std::move(past));
  if (writes_) save_results(output_dir_, "train", figures, /*fresh=*/true);
}

void TrainingLog::save_eval_results() const {
  if (writes_ && !eval_results_.empty()) save_results(output_dir_, "eval", eval_results_, /*fresh=*/false);
}

void TrainingLog::set_best(double metric, std::string checkpoint_directory) {
  best_metric_ = metric;
  best_checkpoint_ = std::move(checkpoint_directory);
}

void TrainingLog::save_state(const fs::path& directory, const LogPosition& at, double total_flos) const {
  const Json state{{"best_metric", best_metric_ ? Json(*best_metric_) : Json()},
                   {"best_model_checkpoint", best_checkpoint_.empty() ? Json() : Json(best_checkpoint_)},
                   {"epoch", at.epoch},
                   {"global_step", at.step},
                   {"is_hyper_param_search", false},
                   {"is_local_process_zero", true},
                   {"is_world_process_zero", true},
                   {"log_history", history_},
                   {"max_steps", total_steps_},
                   {"num_train_epochs", num_train_epochs_},
                   {"total_flos", total_flos},
                   {"trial_name", nullptr},
                   {"trial_params", nullptr}};
  write_json_file(directory / kStateFile, state);
}

std::vector<LossPoint> TrainingLog::points(const std::string& key) const {
  std::vector<LossPoint> found;
  for (const Json& row : history_) {
    if (!row.contains(key)) continue;
    const Json& value = row.at(key);
    found.push_back({row.at("step").get<double>(), value.is_number() ? value.get<double>() : std::nan("")});
  }
  return found;
}

void TrainingLog::save_plots() const {
  for (const std::string key : {"loss", "eval_loss"}) {
    const auto course = points(key);
    if (course.empty()) continue;
    const PlotText text{fmt::format("training {} of {}", key, output_dir_.string()), key};
    plot_losses(output_dir_ / fmt::format("training_{}.png", key), text, course);
  }
}

void save_results(const fs::path& output_dir, const std::string& name, const Json& figures, bool fresh) {
  write_sorted(output_dir / (name + "_results.json"), figures);
  const fs::path path = output_dir / "all_results.json";
  Json all = Json::object();
  if (!fresh && fs::exists(path)) {
    const Json before = Json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
    if (before.is_object()) all = before;
  }
  all.update(figures);
  write_sorted(path, all);
}

}  // namespace baichuan
