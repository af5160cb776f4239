#include "data/alpaca_row.h"

#include <fmt/format.h>

#include "core/json.h"
#include "data/flat_object.h"
#include "data/utf8.h"

namespace baichuan {

namespace {

Json parse_object(std::string_view text) {
  Json row;
  try {
    row = Json::parse(text);
  } catch (const Json::exception& error) {
    if (const auto at = find_invalid_utf8(text); at != std::string_view::npos)
      throw RowError(fmt::format("expected UTF-8; found byte 0x{:02X} as byte {} of the row",
                                 static_cast<unsigned char>(text[at]), at));
    const std::string_view what = error.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 7: syntax error while ...": the tail says it.
    const auto tail = what.find(": ");
    throw RowError(fmt::format("expected valid JSON; found a {}",
                               tail == std::string_view::npos ? "mistake" : what.substr(tail + 2)));
  }
  if (!row.is_object()) throw RowError(fmt::format("expected an object; found {}", row.type_name()));
  return row;
}

RowError missing_field(const std::string& column) {
  return RowError(fmt::format("expected the field '{}'; found none", column));
}

std::string take_text(const Json& row, const std::optional<std::string>& column, bool required) {
  if (!column) return {};
  const auto found = row.find(*column);
  if (found == row.end()) {
    if (required) throw missing_field(*column);
    return {};
  }
  if (found->is_null()) return {};
  if (!found->is_string())
    throw RowError(fmt::format("field '{}' must be text; found {}", *column, found->type_name()));
  return found->get<std::string>();
}

std::string take_text(FlatObject& row, const std::optional<std::string>& column, bool required) {
  if (!column) return {};
  auto* const found = row.find(*column);
  if (found == nullptr && required) throw missing_field(*column);
  return found == nullptr ? std::string() : found->text;
}

std::vector<std::pair<std::string, std::string>> take_history(Json& row, const std::optional<std::string>& column) {
  std::vector<std::pair<std::string, std::string>> history;
  if (!column) return history;
  const auto found = row.find(*column);
  if (found == row.end() || found->is_null()) return history;
  const auto wrong = [&](const std::string& what) {
    return RowError(fmt::format("field '{}' must be a list of [question, answer]; found {}", *column, what));
  };
  if (!found->is_array()) throw wrong(found->type_name());
  for (std::size_t i = 0; i < found->size(); ++i) {
    Json& pair = (*found)[i];
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
      throw wrong(fmt::format("something else as entry {}", i));
    history.emplace_back(std::move(pair[0].get_ref<std::string&>()), std::move(pair[1].get_ref<std::string&>()));
  }
  return history;
}

template <class Object>
AlpacaRow take_row(Object& object, const ColumnNames& columns) {
  AlpacaRow row;
  row.query = take_text(object, columns.prompt, /*required=*/true);
  const bool no_prompt = row.query.empty();
  const std::string input = take_text(object, columns.query, /*required=*/false);
  if (!input.empty()) row.query.append("\n").append(input);
  row.response = take_text(object, columns.response, /*required=*/true);
  row.system = take_text(object, columns.system, /*required=*/false);
  row.empty = no_prompt || row.response.empty();
  return row;
}

// No history, or the text that a general parser will refuse.
bool has_no_history(FlatObject& row, const ColumnNames& columns) {
  if (!columns.history) return true;
  const auto* const history = row.find(*columns.history);
  return history == nullptr || history->is_null;
}

}  // namespace

AlpacaRow parse_alpaca_row(std::string_view json, const ColumnNames& columns) {
  FlatObject flat;
  if (flat.parse(json) && has_no_history(flat, columns)) return take_row(flat, columns);
  Json object = parse_object(json);
  AlpacaRow row = take_row(object, columns);
  row.history = take_history(object, columns.history);
  return row;
}

}  // namespace baichuan
