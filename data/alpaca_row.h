// A row of an instruction data set: instruction, input, output, history, system.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace baichuan {

// Which keys of a row hold what; a column that is absent is not read.
struct ColumnNames {
  std::optional<std::string> prompt = "instruction";
  std::optional<std::string> query = "input";
  std::optional<std::string> response = "output";
  std::optional<std::string> history = "history";
  std::optional<std::string> system = "system";
};

struct AlpacaRow {
  std::string query;  // instruction, and after a newline the input if there is one
  std::string response;
  std::vector<std::pair<std::string, std::string>> history;  // earlier questions and answers
  std::string system;
  bool empty = false;  // no instruction or no output: such rows are dropped
};

// What is wrong with a row, without its place: "field 'output' must be text; found number".
class RowError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws RowError.
AlpacaRow parse_alpaca_row(std::string_view json, const ColumnNames& columns);

}  // namespace baichuan
