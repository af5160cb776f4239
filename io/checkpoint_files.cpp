#include "io/checkpoint_files.h"

#include <algorithm>
#include <regex>
#include <set>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"

namespace baichuan {

namespace {

std::string missing_advice() {
  return "incomplete download?";
}

CheckpointFiles read_index(const fs::path& index) {
  Json json;
  try {
    json = read_json_file(index);
  } catch (const DataError& error) {
    throw CheckpointError("{}", error.what());
  }
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object() ||
      json["weight_map"].empty())
    throw CheckpointError(
        "{}: expected an object with a weight_map of tensors and files; found none; take the index that "
        "belongs to the shards",
        index.string());
  CheckpointFiles found{{}, index, {}};
  std::set<std::string> names;
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    if (!file.is_string() || file.get<std::string>().empty() || file.get<std::string>().find('/') != std::string::npos)
      throw CheckpointError("{}: expected the name of a file beside the index for tensor '{}'; found {}",
                            index.string(), tensor, file.dump(-1, ' ', false, Json::error_handler_t::replace));
    found.weight_map[tensor] = file.get<std::string>();
    names.insert(file.get<std::string>());
  }
  std::vector<std::string> missing;
  for (const auto& name : names) {
    found.files.push_back(index.parent_path() / name);
    if (!fs::exists(found.files.back())) missing.push_back(name);
  }
  if (!missing.empty())
    throw CheckpointError("{}: expected {} shards; {} of them are missing, the first is {}; {}", index.string(),
                          names.size(), missing.size(), missing.front(), missing_advice());
  return found;
}

// Shards without an index: model-00002-of-00003.safetensors says how many there are.
void check_shard_numbers(const fs::path& directory, const std::vector<fs::path>& files) {
  static const std::regex kShard(R"(.*-(\d{5})-of-(\d{5})\.(safetensors|bin))");
  std::set<std::string> totals;
  std::set<int> numbers;
  bool whole_file = false;
  for (const auto& file : files) {
    std::smatch match;
    const std::string name = file.filename().string();
    if (!std::regex_match(name, match, kShard)) {
      whole_file = true;
      continue;
    }
    totals.insert(match[2]);
    numbers.insert(std::stoi(match[1]));
  }
  if (totals.empty()) return;
  if (totals.size() > 1 || whole_file)
    throw CheckpointError(
        "{}: expected the shards of one checkpoint; found files of several and no index; remove those "
        "that do not belong to the model",
        directory.string());
  const int total = std::stoi(*totals.begin());
  for (int number = 1; number <= total; ++number)
    if (!numbers.contains(number))
      throw CheckpointError("{}: expected {} shards; found {}, number {} is missing; {}", directory.string(), total,
                            numbers.size(), number, missing_advice());
}

std::vector<fs::path> matching(const fs::path& directory, const std::regex& pattern) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory))
    if (std::regex_match(entry.path().filename().string(), pattern)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

CheckpointFiles search_directory(const fs::path& directory) {
  // Adapters and what trainers leave beside a model are not its weights.
  static const std::regex kSafetensors(R"((?!adapter_|optimizer|scheduler|rng_state|\.).*\.safetensors)");
  static const std::regex kBin(R"(pytorch_model.*\.bin)");
  struct Search {
    const char* whole;
    const char* index;
    const std::regex& pattern;
  };
  const Search searches[] = {{"model.safetensors", "model.safetensors.index.json", kSafetensors},
                             {"pytorch_model.bin", "pytorch_model.bin.index.json", kBin}};
  for (const auto& search : searches) {
    if (fs::exists(directory / search.whole)) return {{directory / search.whole}, {}, {}};
    if (fs::exists(directory / search.index)) return read_index(directory / search.index);
  }
  for (const auto& search : searches) {
    auto files = matching(directory, search.pattern);
    if (files.empty()) continue;
    check_shard_numbers(directory, files);
    return {std::move(files), {}, {}};
  }
  throw CheckpointError(
      "{}: expected weights as *.safetensors or pytorch_model*.bin; found neither; is this a model "
      "directory, and is its download complete?",
      directory.string());
}

}  // namespace

CheckpointFiles find_checkpoint_files(const fs::path& directory_or_file) {
  if (fs::is_directory(directory_or_file)) return search_directory(directory_or_file);
  if (!fs::exists(directory_or_file))
    throw CheckpointError("expected a model directory or a file of weights; {} does not exist",
                          directory_or_file.string());
  if (directory_or_file.filename().string().ends_with(".index.json")) return read_index(directory_or_file);
  return {{directory_or_file}, {}, {}};
}

}  // namespace baichuan
