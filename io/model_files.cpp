#include "io/model_files.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/files.h"

namespace baichuan {

namespace {

bool is_side_file(const std::string& name) {
  constexpr std::array<std::string_view, 7> kNames{
      "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
      "tokenizer.json",  "added_tokens.json",     "chat_template.jinja"};
  if (std::find(kNames.begin(), kNames.end(), name) != kNames.end()) return true;
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower.ends_with(".py")) return true;
  // "协议" is how the publisher names the agreement that goes with its weights.
  return lower.find("license") != std::string::npos || lower.find("licence") != std::string::npos ||
         lower.starts_with("notice") || name.find("协议") != std::string::npos;
}

void copy_whole(const fs::path& from, const fs::path& to) {
  const std::string contents = read_file(from);
  write_file_atomically(to, contents);
}

}  // namespace

std::vector<fs::path> model_side_files(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory))
    if (entry.is_regular_file() && is_side_file(entry.path().filename().string())) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<fs::path> copy_model_side_files(const fs::path& from, const fs::path& to) {
  std::error_code failure;
  fs::create_directories(to, failure);
  if (failure) throw MachineError("cannot create {}: {}", to.string(), failure.message());
  std::vector<fs::path> names;
  for (const auto& file : model_side_files(from)) {
    names.push_back(file.filename());
    if (!fs::equivalent(from, to)) copy_whole(file, to / file.filename());
  }
  return names;
}

}  // namespace baichuan
