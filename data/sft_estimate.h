// How many rows a data set has and how long they are, found out without tokenising it: from the cache of an earlier
// run, else from a sample of its first rows, else from what is known of the data set.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/data_options.h"
#include "data/tokenizer.h"

namespace baichuan {

struct SftEstimate {
  int64_t train_rows = 0;
  int64_t eval_rows = 0;
  // Tokens of the longest training row: known from a cache, else the limit of the flags.
  int64_t longest = 0;
  double mean_tokens = 0;          // of a row
  double labelled_share = 1;       // of the tokens of a row
  std::vector<int64_t> lengths;    // of training rows in their order, or of a sample; may be empty
  std::vector<std::string> notes;  // what is estimated and why, one sentence each

  // Mean tokens of a row once micro-batches of `batch` rows are padded to their longest.
  double mean_padded_tokens(int64_t batch) const;
};

// Tokens that a row cannot exceed under the length flags.
int64_t row_limit_tokens(const DataOptions& options);

// `tokenizer` may be null: lengths are then estimated from the bytes of the rows. Throws DataError for data sets that
// are unknown or damaged; known ones may be missing.
SftEstimate estimate_sft(const DataOptions& options, const Tokenizer* tokenizer, uint64_t seed);

}  // namespace baichuan
