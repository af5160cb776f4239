#include "app/error_file.h"

#include <cstdlib>
#include <ctime>

#include "core/files.h"
#include "core/json.h"

namespace baichuan {

bool write_error_file(const std::string& message) {
  const char* const path = std::getenv(kErrorFileVariable);
  if (path == nullptr || *path == '\0') return false;
  const Json json = {{"message",
                      {{"message", message},
                       {"extraInfo", {{"py_callstack", message}, {"timestamp", std::to_string(std::time(nullptr))}}}}}};
  try {
    write_file_atomically(path, to_json_line(json));
  } catch (const std::exception&) {
    return false;
  }
  return true;
}

std::optional<std::string> read_error_file(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return {};
  const Json json = Json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  const Json::json_pointer pointer("/message/message");
  if (!json.is_object() || !json.contains(pointer) || !json[pointer].is_string()) return {};
  return json[pointer].get<std::string>();
}

}  // namespace baichuan
