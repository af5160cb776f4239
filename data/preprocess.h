// Tokenising data sets: rows are read, parsed and encoded by several threads and come out in their order.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/dataset_info.h"
#include "data/sft_cache.h"
#include "data/sft_row.h"
#include "data/tokenizer.h"

namespace baichuan {

struct PreprocessRules {
  std::string template_name = "default";
  SftRules row;
  int64_t max_samples = 0;  // rows of each data set; 0: all
  bool skip_bad_rows = false;
  int threads = 1;

  static PreprocessRules from(const DataOptions& options);
};

// Calls `on_row` from the calling thread, once for each row kept, in the order of the data. Memory is bounded by the
// threads, not by the data. Throws DataError for the first bad row (unless they are skipped) and for damaged files.
RowCounts preprocess(std::span<const DatasetSource> sources,
                     const Tokenizer& tokenizer,
                     const PreprocessRules& rules,
                     const std::function<void(const SftRow&)>& on_row);

}  // namespace baichuan
