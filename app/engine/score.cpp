// `baichuan score`: log-probabilities and perplexity of given text.
#include "infer/score.h"

#include <chrono>
#include <cmath>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>

#include "app/assemble_model.h"
#include "app/engine/interrupt.h"
#include "app/engine/terminal.h"
#include "app/score_options.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/tokenizer.h"
#include "infer/score_rows.h"

namespace baichuan {

int run_score(const ScoreCommandOptions& options, const OptionTable& table) {
  (void)table;
  log::set_level(log::parse_level(options.run.log_level));

  // Before the model is loaded: a wrong path should not cost minutes.
  const bool from_stdin = options.score.input == "-";
  std::ifstream file;
  if (!from_stdin) {
    file.open(options.score.input, std::ios::binary);
    if (!file || fs::is_directory(options.score.input))
      throw DataError("--input must be a readable file of JSON lines; found none at {}; check the path",
                      options.score.input);
  }
  std::optional<AtomicFile> output;
  if (options.score.output != "-") output.emplace(options.score.output);

  AssembledModel assembled = assemble_model(options.model);
  install_interrupt_handlers();
  std::unique_ptr<Tokenizer> tokenizer;  // rows of ids need none
  ScoreFunctions functions;
  functions.encode = [&](std::string_view text) {
    if (!tokenizer) tokenizer = std::make_unique<Tokenizer>(assembled.directory);
    return tokenizer->encode(text);
  };
  functions.log_probabilities = [&](std::span<const std::int32_t> ids) {
    return token_log_probabilities(*assembled.model, ids);
  };
  functions.interrupted = &interrupt_signal();

  const auto start = std::chrono::steady_clock::now();
  const ScoreTotals totals =
      score_rows(from_stdin ? std::cin : file, from_stdin ? "standard input" : options.score.input, functions,
                 [&](std::string_view line) { output ? output->write(line) : write_output(line); });
  if (totals.interrupted) return interrupt_exit_status(interrupt_signal());
  if (output) output->commit();

  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double nll = totals.predictions > 0 ? totals.nll_sum / static_cast<double>(totals.predictions) : 0;
  log::info("{} rows, {} tokens, {:.1f} tokens/s; nll {:.4f}, perplexity {:.3f} over all tokens", totals.rows,
            totals.tokens, static_cast<double>(totals.tokens) / seconds, nll, std::exp(nll));
  return 0;
}

}  // namespace baichuan
