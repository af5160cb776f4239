#include "core/json.h"

#include <algorithm>

#include "core/error.h"
#include "core/files.h"

namespace baichuan {

namespace {

std::size_t line_of(std::string_view text, std::size_t byte) {
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size()));
  return 1 + static_cast<std::size_t>(std::count(text.begin(), end, '\n'));
}

}  // namespace

Json parse_json(std::string_view text, const std::string& origin) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    const std::size_t at = error.byte > 0 ? error.byte - 1 : 0;
    const bool truncated = at >= text.size();
    throw DataError("{} line {}: expected valid JSON; {}", origin, line_of(text, at),
                    truncated ? "the file ends too early (an incomplete download?)"
                              : fmt::format("byte {} cannot stand there", at));
  }
}

Json read_json_file(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

void write_json_file(const std::filesystem::path& path, const Json& value) {
  write_file_atomically(path, value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void write_json_file(const std::filesystem::path& path, const OrderedJson& value) {
  write_file_atomically(path, value.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

std::string to_json_line(const OrderedJson& value) {
  return value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace baichuan
