// JSON lines in, scored JSON lines out: the files of `baichuan score`.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <istream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace baichuan {

struct ScoreTotals {
  std::int64_t rows = 0;
  std::int64_t tokens = 0;       // all of them
  std::int64_t predictions = 0;  // those with a log-probability
  double nll_sum = 0;
  bool interrupted = false;
};

struct ScoreFunctions {
  std::function<std::vector<std::int32_t>(std::string_view text)> encode;
  std::function<std::vector<float>(std::span<const std::int32_t> ids)> log_probabilities;
  const std::atomic<int>* interrupted = nullptr;  // stops when not 0; looked at before every row
};

// Reads rows {"text": ...} or {"ids": [...]} and gives `write` one line (with its newline) for each:
// {"ids": [...], "logprobs": [null, ...], "nll": mean, "perplexity": exp(nll)}. Lines of blanks are skipped. Throws
// DataError naming `origin`, the line and the field.
ScoreTotals score_rows(std::istream& input,
                       const std::string& origin,
                       const ScoreFunctions& functions,
                       const std::function<void(std::string_view line)>& write);

}  // namespace baichuan
