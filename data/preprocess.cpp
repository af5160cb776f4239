#include "data/preprocess.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/json_rows.h"

namespace baichuan {

namespace {

constexpr std::size_t kRowsPerChunk = 64;
constexpr int64_t kReportedBadRows = 3;

// Some rows of one file, to be encoded by one thread.
struct Chunk {
  int64_t number = 0;
  const DatasetSource* source = nullptr;
  const JsonRows* file = nullptr;
  std::vector<RowText> rows;
  std::exception_ptr failure;  // of the file, after these rows
};

struct EncodedChunk {
  std::vector<SftRow> rows;
  RowCounts counts;
  std::vector<std::string> bad_rows;
  std::exception_ptr failure;
};

// Cuts the files of all data sets into chunks, in order. Not thread safe.
class ChunkFeed {
 public:
  ChunkFeed(std::span<const DatasetSource> sources, int64_t max_samples)
      : sources_(sources), max_samples_(max_samples) {}

  // False at the end. What is wrong with a file comes as a chunk's failure, so that it is reported in order.
  bool next(Chunk& chunk) {
    chunk = Chunk{.number = next_number_};
    if (finished_) return false;
    try {
      if (!open_next_file()) return false;
      chunk.source = &sources_[source_];
      chunk.file = &file_->rows;
      while (chunk.rows.size() < kRowsPerChunk && !sample_is_full()) {
        auto row = file_->rows.next();
        if (!row) {
          at_end_ = true;
          break;
        }
        chunk.rows.push_back(*row);
        ++taken_;
      }
    } catch (...) {
      chunk.failure = std::current_exception();
      finished_ = true;
    }
    ++next_number_;
    return true;
  }

 private:
  // The files stay open: rows on their way to a thread point into them.
  struct OpenFile {
    explicit OpenFile(const fs::path& path)
        : bytes(path),
          rows({reinterpret_cast<const char*>(bytes.bytes().data()), bytes.bytes().size()}, path.string()) {}
    MappedFile bytes;
    JsonRows rows;
  };

  bool sample_is_full() const { return max_samples_ > 0 && taken_ >= max_samples_; }

  bool open_next_file() {
    while (file_ == nullptr || at_end_ || sample_is_full()) {
      if (file_ != nullptr) ++file_index_;
      if (file_ != nullptr && (file_index_ == sources_[source_].files.size() || sample_is_full())) {
        ++source_;
        file_index_ = 0;
        taken_ = 0;
      }
      if (source_ == sources_.size()) {
        finished_ = true;
        return false;
      }
      file_ = &files_.emplace_back(sources_[source_].files[file_index_]);
      at_end_ = false;
    }
    return true;
  }

  std::span<const DatasetSource> sources_;
  int64_t max_samples_;
  std::deque<OpenFile> files_;
  OpenFile* file_ = nullptr;
  std::size_t source_ = 0;
  std::size_t file_index_ = 0;
  int64_t taken_ = 0;
  int64_t next_number_ = 0;
  bool at_end_ = false;
  bool finished_ = false;
};

// Encodes chunks; one for each thread.
class ChunkEncoder {
 public:
  ChunkEncoder(const TrainingTemplate& form, const Tokenizer& tokenizer, const PreprocessRules& rules)
      : form_(form), encoder_(tokenizer), eos_id_(tokenizer.eos_id()), rules_(rules) {}

  EncodedChunk encode(const Chunk& chunk) {
    EncodedChunk result;
    try {
      for (const RowText& row : chunk.rows) encode_row(chunk, row, result);
      result.failure = chunk.failure;
    } catch (...) {
      result.failure = std::current_exception();
    }
    return result;
  }

 private:
  void encode_row(const Chunk& chunk, const RowText& text, EncodedChunk& result) {
    ++result.counts.read;
    AlpacaRow row;
    try {
      row = parse_alpaca_row(text.text, chunk.source->columns);
    } catch (const RowError& error) {
      const std::string what = fmt::format("{} row {} (line {}): {}", chunk.file->origin(), text.index,
                                           chunk.file->line_of(text.text.data()), error.what());
      if (!rules_.skip_bad_rows) throw DataError("{}; mend the row, or pass --on_bad_row skip", what);
      ++result.counts.bad;
      if (std::ssize(result.bad_rows) < kReportedBadRows) result.bad_rows.push_back(what);
      return;
    }
    if (row.empty) {
      ++result.counts.empty;
      return;
    }
    turns_.clear();
    for (const auto& [query, response] : row.history) turns_.push_back({query, response});
    turns_.push_back({row.query, row.response});
    const auto encoded = form_.encode(encoder_, row.system.empty() ? chunk.source->system : row.system, turns_);
    SftRow ids = make_sft_row(encoded, form_.efficient_eos(), eos_id_, rules_.row);
    if (ids.labels.empty())
      ++result.counts.unlabelled;
    else
      result.rows.push_back(std::move(ids));
  }

  const TrainingTemplate& form_;
  PlainEncoder encoder_;
  int32_t eos_id_;
  const PreprocessRules& rules_;
  std::vector<Turn> turns_;
};

// Hands chunks to threads and their results, in order, to the caller. The feed waits when it is too far ahead of the
// caller, so that results do not pile up.
class OrderedPipeline {
 public:
  OrderedPipeline(ChunkFeed& feed, int threads) : feed_(feed), max_ahead_(8 * threads) {}

  void work(ChunkEncoder& encoder) {
    Chunk chunk;
    while (take(chunk)) {
      EncodedChunk result = encoder.encode(chunk);
      const std::lock_guard lock(mutex_);
      results_.emplace(chunk.number, std::move(result));
      changed_.notify_all();
    }
  }

  // The next result in order; none at the end.
  std::optional<EncodedChunk> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return results_.contains(delivered_) || (drained_ && delivered_ == handed_out_); });
    if (!results_.contains(delivered_)) return std::nullopt;
    auto node = results_.extract(delivered_++);
    changed_.notify_all();
    return std::move(node.mapped());
  }

  void stop() {
    const std::lock_guard lock(mutex_);
    drained_ = true;
    changed_.notify_all();
  }

 private:
  bool take(Chunk& chunk) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return drained_ || handed_out_ - delivered_ < max_ahead_; });
    if (!drained_ && feed_.next(chunk)) {
      ++handed_out_;
      return true;
    }
    drained_ = true;
    changed_.notify_all();
    return false;
  }

  ChunkFeed& feed_;
  const int64_t max_ahead_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, EncodedChunk> results_;
  int64_t handed_out_ = 0;
  int64_t delivered_ = 0;
  bool drained_ = false;
};

void add_counts(RowCounts& total, const RowCounts& part) {
  total.read += part.read;
  total.empty += part.empty;
  total.bad += part.bad;
  total.unlabelled += part.unlabelled;
}

}  // namespace

PreprocessRules PreprocessRules::from(const DataOptions& options) {
  PreprocessRules rules;
  rules.template_name = options.template_name;
  rules.row = SftRules::from(options);
  rules.max_samples = options.max_samples.value_or(0);
  rules.skip_bad_rows = options.on_bad_row == "skip";
  const auto cores = static_cast<int64_t>(std::max(1U, std::thread::hardware_concurrency()));
  rules.threads = static_cast<int>(options.preprocessing_num_workers.value_or(cores));
  return rules;
}

RowCounts preprocess(std::span<const DatasetSource> sources,
                     const Tokenizer& tokenizer,
                     const PreprocessRules& rules,
                     const std::function<void(const SftRow&)>& on_row) {
  const TrainingTemplate form(rules.template_name, rules.row.compat, tokenizer);
  ChunkFeed feed(sources, rules.max_samples);
  OrderedPipeline pipeline(feed, rules.threads);
  std::deque<ChunkEncoder> encoders;
  for (int i = 0; i < rules.threads; ++i) encoders.emplace_back(form, tokenizer, rules);
  std::vector<std::jthread> threads;
  // Declared after the threads: on the way out of an error it lets them end before they are joined.
  struct Stop {
    OrderedPipeline& pipeline;
    ~Stop() { pipeline.stop(); }
  } stop{pipeline};
  for (auto& encoder : encoders) threads.emplace_back([&pipeline, &encoder] { pipeline.work(encoder); });
  RowCounts counts;
  while (auto chunk = pipeline.next()) {
    for (const SftRow& row : chunk->rows) on_row(row);
    for (std::size_t i = 0; i < chunk->bad_rows.size() && counts.bad + static_cast<int64_t>(i) < kReportedBadRows; ++i)
      log::warning("skipped {}", chunk->bad_rows[i]);
    add_counts(counts, chunk->counts);
    counts.kept += std::ssize(chunk->rows);
    if (chunk->failure) std::rethrow_exception(chunk->failure);
  }
  return counts;
}

}  // namespace baichuan
