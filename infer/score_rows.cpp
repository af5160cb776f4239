#include "infer/score_rows.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "data/utf8.h"
#include "infer/score.h"
#include "infer/utf8_stream.h"

namespace baichuan {

namespace {

// What stands in a message for a value of any size.
std::string excerpt(const Json& value) {
  constexpr std::size_t kLongest = 60;
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() <= kLongest) return text;
  Utf8Stream whole;
  return whole.append(std::string_view(text).substr(0, kLongest)) + "...";
}

std::vector<std::int32_t> parse_ids(const Json& value, const std::string& where) {
  if (!value.is_array())
    throw DataError("{}: 'ids' must be a list of whole numbers; found {}; write {{\"ids\": [1, 2, 3]}}", where,
                    excerpt(value));
  std::vector<std::int32_t> ids;
  ids.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    const Json& id = value[i];
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<std::int32_t>::max())
      throw DataError("{}: 'ids' must hold whole numbers from 0 up; found {} at index {}; correct the row", where,
                      excerpt(id), i);
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

std::vector<std::int32_t> parse_row(const std::string& line,
                                    const std::string& where,
                                    const ScoreFunctions& functions) {
  if (const auto at = find_invalid_utf8(line); at != std::string::npos)
    throw DataError("{}: expected UTF-8; byte {} is not; convert the file", where, at + 1);
  Json row;
  try {
    row = Json::parse(line);
  } catch (const Json::parse_error& error) {
    throw DataError("{}: expected one JSON object; it breaks at byte {}; write one row a line", where, error.byte);
  }
  if (!row.is_object())
    throw DataError("{}: expected a JSON object with 'text' or 'ids'; found {}", where, excerpt(row));
  if (row.contains("text") == row.contains("ids"))
    throw DataError("{}: a row needs either 'text' or 'ids'; found {}; give one of them", where,
                    row.contains("text") ? "both" : "neither");
  if (row.contains("ids")) return parse_ids(row["ids"], where);
  const Json& text = row["text"];
  if (!text.is_string())
    throw DataError("{}: 'text' must be a string; found {}; correct the row", where, excerpt(text));
  return functions.encode(text.get_ref<const std::string&>());
}

// JSON knows neither NaN nor infinity, and a log-probability that is not finite says that the weights overflow.
void require_finite(std::span<const float> logprobs, const std::string& where) {
  for (std::size_t i = 1; i < logprobs.size(); ++i)
    if (!std::isfinite(logprobs[i]))
      throw DataError(
          "{}: expected finite log-probabilities; found {} at index {}; use --dtype bf16 or fp32, or check "
          "the weights",
          where, std::isnan(logprobs[i]) ? "NaN" : "an infinite one", i);
}

std::string to_line(const std::vector<std::int32_t>& ids, const std::vector<float>& logprobs, const TextScore& score) {
  OrderedJson row;
  row["ids"] = ids;
  row["logprobs"] = OrderedJson::array();
  for (const float value : logprobs) row["logprobs"].push_back(std::isnan(value) ? OrderedJson() : OrderedJson(value));
  row["nll"] = score.nll;
  row["perplexity"] = score.perplexity;
  return to_json_line(row) + "\n";
}

}  // namespace

ScoreTotals score_rows(std::istream& input,
                       const std::string& origin,
                       const ScoreFunctions& functions,
                       const std::function<void(std::string_view line)>& write) {
  ScoreTotals totals;
  std::string line;
  for (std::int64_t number = 1; std::getline(input, line); ++number) {
    if (functions.interrupted != nullptr && functions.interrupted->load(std::memory_order_relaxed) != 0) {
      totals.interrupted = true;
      return totals;
    }
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{} line {}", origin, number);
    const auto ids = parse_row(line, where, functions);
    std::vector<float> logprobs;
    try {
      logprobs = functions.log_probabilities(ids);
    } catch (const DataError& error) {
      throw DataError("{}: {}", where, error.what());
    }
    require_finite(logprobs, where);
    const TextScore score = summarize(logprobs);
    write(to_line(ids, logprobs, score));
    ++totals.rows;
    totals.tokens += static_cast<std::int64_t>(ids.size());
    if (ids.size() > 1) {
      const auto predictions = static_cast<std::int64_t>(ids.size()) - 1;
      totals.predictions += predictions;
      totals.nll_sum += score.nll * static_cast<double>(predictions);
    }
  }
  return totals;
}

}  // namespace baichuan
