#include "data/sft_estimate.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "core/files.h"
#include "data/dataset_info.h"
#include "data/json_rows.h"
#include "data/preprocess.h"
#include "data/sft_dataset.h"
#include "data/split.h"

namespace baichuan {

namespace {

constexpr int64_t kSampledRows = 256;                         // of each data set: 10 ms
constexpr std::size_t kCountedBytes = std::size_t{64} << 20;  // of a file; the rest is extrapolated
// An alpaca row as JSON: keys and punctuation, then text, of which Baichuan's pieces cover this many bytes each in
// English and in Chinese alike; the default template adds its own tokens.
constexpr double kJsonBytesPerRow = 60;
constexpr double kBytesPerToken = 4.25;
constexpr double kTemplateTokens = 45;
// Row lengths spread about exponentially around their mean: the longest of b rows exceeds it by this share of
// (1 + 1/2 + ... + 1/b) - 1.
constexpr double kLengthSpread = 0.6;

struct KnownDataset {
  std::string_view name;
  int64_t rows;
  double mean_tokens;
  double labelled_share;
};
constexpr auto kKnownDatasets = std::to_array<KnownDataset>({
    {"alpaca_gpt4_en", 52002, 230, 0.73},
    {"alpaca_gpt4_zh", 48818, 182, 0.69},
});

// One data set, or the sum over several.
struct Rows {
  double rows = 0;
  double tokens = 0;
  double labelled = 0;

  void add(double more, double mean_tokens, double labelled_share) {
    rows += more;
    tokens += more * mean_tokens;
    labelled += more * mean_tokens * labelled_share;
  }
};

int64_t count_rows(const DatasetSource& source, std::vector<std::string>& notes) {
  double rows = 0;
  for (const auto& file : source.files) {
    const MappedFile contents(file);
    const auto bytes = contents.bytes();
    const char* const begin = reinterpret_cast<const char*>(bytes.data());
    JsonRows reader({begin, bytes.size()}, file.string());
    int64_t counted = 0;
    std::size_t read = 0;
    while (read < kCountedBytes) {
      const auto row = reader.next();
      if (!row) {
        read = bytes.size();
        break;
      }
      ++counted;
      read = static_cast<std::size_t>(row->text.data() - begin) + row->text.size();
    }
    const bool whole = read >= bytes.size();
    rows += static_cast<double>(counted) * (whole ? 1 : static_cast<double>(bytes.size()) / static_cast<double>(read));
    if (!whole) notes.push_back(fmt::format("the rows of {} are extrapolated from its beginning", file.string()));
  }
  return static_cast<int64_t>(rows);
}

double bytes_per_row(const DatasetSource& source, int64_t rows) {
  std::uintmax_t bytes = 0;
  for (const auto& file : source.files) bytes += fs::file_size(file);
  return static_cast<double>(bytes) / static_cast<double>(std::max<int64_t>(rows, 1));
}

void add_from_files(const DataOptions& options,
                    const DatasetSource& source,
                    const Tokenizer* tokenizer,
                    Rows& sum,
                    SftEstimate& estimate) {
  int64_t rows = count_rows(source, estimate.notes);
  if (tokenizer == nullptr) {
    const double text_bytes = std::max(0.0, bytes_per_row(source, rows) - kJsonBytesPerRow);
    const double mean =
        std::min(static_cast<double>(row_limit_tokens(options)), kTemplateTokens + text_bytes / kBytesPerToken);
    if (options.max_samples) rows = std::min(rows, *options.max_samples);
    sum.add(static_cast<double>(rows), mean, 0.7);
    return;
  }
  PreprocessRules rules = PreprocessRules::from(options);
  rules.max_samples = std::min(options.max_samples.value_or(kSampledRows), kSampledRows);
  rules.skip_bad_rows = true;
  rules.threads = 1;
  Rows sample;
  const RowCounts counts = preprocess({&source, 1}, *tokenizer, rules, [&](const SftRow& row) {
    estimate.lengths.push_back(std::ssize(row.ids));
    sample.rows += 1;
    sample.tokens += static_cast<double>(row.ids.size());
    sample.labelled += static_cast<double>(row.label_count());
  });
  if (options.max_samples) rows = std::min(rows, *options.max_samples);
  if (sample.rows == 0) return;
  const double kept = sample.rows / static_cast<double>(std::max<int64_t>(counts.read, 1));
  sum.add(static_cast<double>(rows) * kept, sample.tokens / sample.rows, sample.labelled / sample.tokens);
}

// A well-known data set whose file is not there.
bool add_from_knowledge(const DataOptions& options, const std::string& name, Rows& sum, SftEstimate& estimate) {
  for (const auto& known : kKnownDatasets) {
    if (known.name != name) continue;
    const int64_t rows = std::min(known.rows, options.max_samples.value_or(known.rows));
    const double mean = std::min(known.mean_tokens, static_cast<double>(row_limit_tokens(options)));
    sum.add(static_cast<double>(rows), mean, known.labelled_share);
    estimate.notes.push_back(
        fmt::format("{} is not here: its published {} rows and a mean length of {:.0f} tokens "
                    "are assumed",
                    name, known.rows, mean));
    return true;
  }
  return false;
}

SftEstimate from_cache(const SftSplits& splits) {
  SftEstimate estimate;
  estimate.train_rows = splits.train.size();
  estimate.eval_rows = splits.eval.size();
  estimate.lengths.reserve(static_cast<std::size_t>(splits.train.size()));
  double tokens = 0;
  for (int64_t i = 0; i < splits.train.size(); ++i) {
    estimate.lengths.push_back(splits.train.length(i));
    estimate.longest = std::max(estimate.longest, estimate.lengths.back());
    tokens += static_cast<double>(estimate.lengths.back());
  }
  estimate.mean_tokens = tokens / static_cast<double>(estimate.train_rows);
  estimate.labelled_share = static_cast<double>(splits.counts.label_tokens) / static_cast<double>(splits.counts.tokens);
  return estimate;
}

std::optional<SftSplits> tokenised(const DataOptions& options, const Tokenizer* tokenizer, uint64_t seed) {
  if (tokenizer == nullptr) return std::nullopt;
  try {
    return find_tokenised_sft(options, *tokenizer, seed);
  } catch (const DataError&) {
    return std::nullopt;  // a file is missing: told below, data set by data set
  }
}

}  // namespace

int64_t row_limit_tokens(const DataOptions& options) {
  return options.has_turn_limits() ? options.source_limit() + options.target_limit() : options.cutoff_len;
}

double SftEstimate::mean_padded_tokens(int64_t batch) const {
  if (lengths.empty()) {
    double harmonic = 0;
    for (int64_t i = 1; i <= batch; ++i) harmonic += 1 / static_cast<double>(i);
    return std::min(static_cast<double>(longest), mean_tokens * (1 + kLengthSpread * (harmonic - 1)));
  }
  double padded = 0;
  for (std::size_t begin = 0; begin < lengths.size(); begin += static_cast<std::size_t>(batch)) {
    const std::size_t end = std::min(lengths.size(), begin + static_cast<std::size_t>(batch));
    const auto first = lengths.begin();
    padded += static_cast<double>(end - begin) *
              static_cast<double>(*std::max_element(first + static_cast<std::ptrdiff_t>(begin),
                                                    first + static_cast<std::ptrdiff_t>(end)));
  }
  return padded / static_cast<double>(lengths.size());
}

SftEstimate estimate_sft(const DataOptions& options, const Tokenizer* tokenizer, uint64_t seed) {
  if (const auto splits = tokenised(options, tokenizer, seed)) return from_cache(*splits);
  SftEstimate estimate;
  Rows sum;
  bool all_sampled = true;
  for (const std::string& name : dataset_names(options)) {
    DataOptions one = options;
    one.dataset = name;
    one.system_prompt.clear();
    try {
      const auto sources = find_datasets(one);
      add_from_files(one, sources.front(), tokenizer, sum, estimate);
    } catch (const DataError&) {
      if (!add_from_knowledge(one, name, sum, estimate)) throw;
      all_sampled = false;
    }
  }
  if (!all_sampled) estimate.lengths.clear();  // a part would not stand for the whole
  const auto rows = static_cast<int64_t>(sum.rows);
  const Split split = split_rows(rows, options.val_size, seed);
  estimate.train_rows = std::ssize(split.train);
  estimate.eval_rows = std::ssize(split.eval);
  estimate.mean_tokens = sum.tokens / std::max(sum.rows, 1.0);
  estimate.labelled_share = sum.tokens > 0 ? sum.labelled / sum.tokens : 1;
  estimate.longest = row_limit_tokens(options);
  estimate.notes.push_back(fmt::format(
      "row lengths are estimated; the longest row is taken to be the limit of {} tokens; `baichuan preview` tokenises "
      "the data, and a plan after it is exact",
      estimate.longest));
  return estimate;
}

}  // namespace baichuan
