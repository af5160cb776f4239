// `baichuan preview`: what a data set becomes, before a model is loaded.
#include <algorithm>
#include <cstdio>
#include <numeric>

#include <fmt/ranges.h>

#include "app/open_tokenizer.h"
#include "app/preview_options.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "data/sft_dataset.h"

namespace baichuan {

namespace {

struct Bucket {
  int64_t from;
  int64_t to;  // included
  int64_t rows;
};

struct Lengths {
  std::vector<int64_t> sorted;

  explicit Lengths(const SftSplits& splits) {
    for (const SftDataset* const part : {&splits.train, &splits.eval})
      for (int64_t i = 0; i < part->size(); ++i) sorted.push_back(part->length(i));
    std::sort(sorted.begin(), sorted.end());
  }

  int64_t percentile(int64_t percent) const {
    const auto last = static_cast<int64_t>(sorted.size()) - 1;
    return sorted[static_cast<std::size_t>(last * percent / 100)];
  }

  double mean() const {
    return static_cast<double>(std::accumulate(sorted.begin(), sorted.end(), int64_t{0})) /
           static_cast<double>(sorted.size());
  }

  // At most 16 buckets of a width that is a power of two.
  std::vector<Bucket> histogram() const {
    int64_t width = 16;
    while (sorted.back() > 16 * width) width *= 2;
    std::vector<Bucket> buckets;
    for (int64_t from = 1; from <= sorted.back(); from += width) buckets.push_back({from, from + width - 1, 0});
    for (const int64_t length : sorted)
      ++buckets[static_cast<std::size_t>((std::max<int64_t>(length, 1) - 1) / width)].rows;
    return buckets;
  }
};

std::vector<std::string> pieces_of(const Tokenizer& tokenizer, const SftExample& example) {
  std::vector<std::string> pieces;
  for (const int32_t id : example.ids) pieces.push_back(tokenizer.piece(id));
  return pieces;
}

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

OrderedJson as_json(const SftSplits& splits, const Tokenizer& tokenizer, int64_t rows) {
  const RowCounts& counts = splits.counts;
  const Lengths lengths(splits);
  OrderedJson histogram = OrderedJson::array();
  for (const Bucket& bucket : lengths.histogram())
    histogram.push_back({{"from", bucket.from}, {"to", bucket.to}, {"rows", bucket.rows}});
  OrderedJson examples = OrderedJson::array();
  for (int64_t i = 0; i < std::min(rows, splits.train.size()); ++i) {
    const SftExample example = splits.train.example(i);
    examples.push_back({{"ids", example.ids}, {"pieces", pieces_of(tokenizer, example)}, {"labels", example.labels}});
  }
  return {{"rows_read", counts.read},
          {"rows_kept", counts.kept},
          {"rows_empty", counts.empty},
          {"rows_bad", counts.bad},
          {"rows_nothing_to_learn", counts.unlabelled},
          {"rows_truncated", counts.truncated},
          {"share_truncated", share(counts.truncated, counts.kept)},
          {"train_rows", splits.train.size()},
          {"eval_rows", splits.eval.size()},
          {"tokens", counts.tokens},
          {"label_tokens", counts.label_tokens},
          {"length",
           {{"min", lengths.sorted.front()},
            {"median", lengths.percentile(50)},
            {"mean", lengths.mean()},
            {"p90", lengths.percentile(90)},
            {"p99", lengths.percentile(99)},
            {"max", lengths.sorted.back()}}},
          {"histogram", histogram},
          {"cache_file", splits.cache_file.string()},
          {"examples", examples}};
}

void print_summary(const SftSplits& splits) {
  const RowCounts& counts = splits.counts;
  const Lengths lengths(splits);
  fmt::print(
      "rows      {} read, {} kept; {} without instruction or output, {} unreadable, {} with nothing left to learn\n",
      counts.read, counts.kept, counts.empty, counts.bad, counts.unlabelled);
  fmt::print("split     {} for training, {} for evaluation\n", splits.train.size(), splits.eval.size());
  fmt::print("tokens    {}, of which {} are learnt ({:.1f} %)\n", counts.tokens, counts.label_tokens,
             100 * share(counts.label_tokens, counts.tokens));
  fmt::print("cut       {} rows ({:.2f} %)\n", counts.truncated, 100 * share(counts.truncated, counts.kept));
  fmt::print("length    shortest {}, median {}, mean {:.1f}, 90 % {}, 99 % {}, longest {}\n", lengths.sorted.front(),
             lengths.percentile(50), lengths.mean(), lengths.percentile(90), lengths.percentile(99),
             lengths.sorted.back());
  const auto histogram = lengths.histogram();
  int64_t most = 1;
  for (const Bucket& bucket : histogram) most = std::max(most, bucket.rows);
  for (const Bucket& bucket : histogram) {
    const auto bar = static_cast<std::size_t>((bucket.rows * 40 + most - 1) / most);
    fmt::print("  {:>6} to {:<6} {:>8}  {}\n", bucket.from, bucket.to, bucket.rows, std::string(bar, '#'));
  }
}

void print_example(const SftDataset& dataset, const Tokenizer& tokenizer, int64_t i) {
  const SftExample example = dataset.example(i);
  OrderedJson pieces = pieces_of(tokenizer, example);
  fmt::print("\nrow {}: {} tokens, {} learnt\nids     [{}]\npieces  {}\nlabels  [{}]\n", i, example.ids.size(),
             dataset.label_tokens(i), fmt::join(example.ids, ", "), to_json_line(pieces),
             fmt::join(example.labels, ", "));
}

}  // namespace

int run_preview(const PreviewCommandOptions& options, const OptionTable& table) {
  (void)table;
  log::set_level(log::parse_level(options.run.log_level));
  const Tokenizer tokenizer = open_tokenizer(options.model, "preview");
  const SftSplits splits = prepare_sft(options.data, tokenizer, static_cast<uint64_t>(options.run.seed));
  const int64_t rows = options.preview.rows;
  if (options.preview.json) {
    fmt::print("{}\n", to_json_line(as_json(splits, tokenizer, rows)));
  } else {
    print_summary(splits);
    for (int64_t i = 0; i < std::min(rows, splits.train.size()); ++i) print_example(splits.train, tokenizer, i);
  }
  if (std::fflush(stdout) != 0) throw MachineError("cannot write to standard output; is the disk full?");
  return 0;
}

}  // namespace baichuan
