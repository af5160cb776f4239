// Data sets for supervised fine-tuning: tokenised once, kept in a mapped file, split.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/data_options.h"
#include "data/sft_cache.h"
#include "data/tokenizer.h"

namespace baichuan {

inline constexpr int32_t kNoLabel = -100;

struct SftExample {
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;  // as long as ids; kNoLabel where nothing is learnt; label i belongs to id i
};

// Rows of a cache, in an order of their own. Cheap to copy; reading is thread safe.
class SftDataset {
 public:
  SftDataset() = default;
  SftDataset(std::shared_ptr<const SftCache> cache, std::vector<int64_t> rows)
      : cache_(std::move(cache)), rows_(std::move(rows)) {}

  int64_t size() const { return std::ssize(rows_); }
  bool empty() const { return rows_.empty(); }
  int64_t length(int64_t i) const { return cache_->length(row(i)); }
  int64_t label_tokens(int64_t i) const { return cache_->label_count(row(i)); }
  SftExample example(int64_t i) const;

 private:
  int64_t row(int64_t i) const { return rows_[static_cast<std::size_t>(i)]; }

  std::shared_ptr<const SftCache> cache_;
  std::vector<int64_t> rows_;
};

struct SftSplits {
  SftDataset train;
  SftDataset eval;
  RowCounts counts;
  std::string fingerprint;           // of everything that shaped the rows; the split not included
  std::filesystem::path cache_file;  // where the rows are kept
};

// Finds the data sets, tokenises them unless a cache of the same content is there, and splits off the evaluation rows
// by `seed`. Several processes may call it at once: one tokenises, the others wait for its file. Throws DataError.
SftSplits prepare_sft(const DataOptions& options, const Tokenizer& tokenizer, uint64_t seed);

// The same where a cache of the same content is there already: nothing is tokenised, nothing written.
std::optional<SftSplits> find_tokenised_sft(const DataOptions& options, const Tokenizer& tokenizer, uint64_t seed);

// A row for people: ids, text, label ids, text of the labels.
std::string describe_example(const Tokenizer& tokenizer, const SftExample& example);

}  // namespace baichuan
