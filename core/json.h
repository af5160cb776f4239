// JSON files, read with messages that name file, line and key.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

namespace baichuan {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

// Throws DataError naming `origin` and the line of the first mistake.
Json parse_json(std::string_view text, const std::string& origin);
Json read_json_file(const std::filesystem::path& path);

// Written whole or not at all; two-space indent, UTF-8 as it is, a newline at the end.
void write_json_file(const std::filesystem::path& path, const Json& value);
void write_json_file(const std::filesystem::path& path, const OrderedJson& value);

// One line without a newline; bytes that are not UTF-8 become U+FFFD instead of an exception.
std::string to_json_line(const OrderedJson& value);

}  // namespace baichuan
