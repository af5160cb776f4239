#include "data/dataset_info.h"

#include <algorithm>
#include <array>

#include <fmt/ranges.h>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/nearest.h"

namespace baichuan {

namespace {

constexpr std::string_view kInfoFile = "dataset_info.json";
constexpr std::string_view kDefaultDirectory = "data";

// Where the files of well-known data sets can be had.
struct Download {
  std::string_view name;
  std::string_view url;
};
constexpr auto kDownloads = std::to_array<Download>({
    {"alpaca_gpt4_en",
     "https://huggingface.co/datasets/llamafactory/alpaca_gpt4_en/resolve/main/alpaca_gpt4_data_en.json"},
    {"alpaca_gpt4_zh",
     "https://huggingface.co/datasets/llamafactory/alpaca_gpt4_zh/resolve/main/alpaca_gpt4_data_zh.json"},
});

// A dataset_info.json and the folder that its file names are relative to.
struct Catalog {
  fs::path directory;
  Json entries = Json::object();
};

std::optional<Catalog> read_catalog(const fs::path& directory) {
  const fs::path file = directory / kInfoFile;
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return std::nullopt;
  Catalog catalog{directory, read_json_file(file)};
  if (!catalog.entries.is_object())
    throw DataError("{}: expected an object of data sets; found {}; write {{\"NAME\": {{\"file_name\": \"FILE\"}}}}",
                    file.string(), catalog.entries.type_name());
  return catalog;
}

std::vector<Catalog> read_catalogs(const DataOptions& options) {
  std::vector<Catalog> catalogs;
  std::vector<fs::path> directories = {options.dataset_dir};
  if (options.dataset_dir == kDefaultDirectory)
    if (const auto installed = installed_data_directory()) directories.push_back(*installed);
  for (const auto& directory : directories)
    if (auto catalog = read_catalog(directory)) catalogs.push_back(std::move(*catalog));
  return catalogs;
}

std::optional<std::string> text_entry(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::nullopt;
  if (!found->is_string()) throw DataError("{}: '{}' must be text; found {}", where, key, found->type_name());
  return found->get<std::string>();
}

// Where `columns` is given, a key that it leaves out names no column.
ColumnNames read_columns(const Json& entry, const std::string& where) {
  const auto found = entry.find("columns");
  if (found == entry.end() || found->is_null()) return {};
  if (!found->is_object()) throw DataError("{}: 'columns' must be an object; found {}", where, found->type_name());
  const std::string inside = where + " columns";
  ColumnNames columns{text_entry(*found, "prompt", inside), text_entry(*found, "query", inside),
                      text_entry(*found, "response", inside), text_entry(*found, "history", inside),
                      text_entry(*found, "system", inside)};
  if (!columns.prompt || !columns.response)
    throw DataError("{}: expected 'columns' to name prompt and response; found no {}; add it", where,
                    columns.prompt ? "response" : "prompt");
  return columns;
}

void require_readable_kind(const Json& entry, const std::string& where) {
  const auto formatting = text_entry(entry, "formatting", where).value_or("alpaca");
  if (formatting != "alpaca")
    throw DataError("{}: formatting '{}' is not built yet; convert the rows to instruction, input, output, history",
                    where, formatting);
  if (const auto ranking = entry.find("ranking"); ranking != entry.end() && *ranking == Json(true))
    throw DataError("{}: a ranking data set is for reward models, which are not built yet; choose another", where);
  if (entry.contains("file_name")) return;
  for (const char* key : {"hf_hub_url", "ms_hub_url", "om_hub_url", "hub_url", "cloud_file_name", "script_url"})
    if (entry.contains(key))
      throw DataError(
          "{}: expected 'file_name'; found '{}', and nothing is downloaded or run; save the data as JSON and name that "
          "file",
          where, key);
  throw DataError("{}: expected 'file_name'; found none; name the JSON file of the data set", where);
}

void require_json_file(const fs::path& file) {
  constexpr std::array<std::string_view, 6> kOther = {".csv", ".tsv", ".parquet", ".arrow", ".txt", ".xlsx"};
  const std::string extension = file.extension().string();
  if (std::find(kOther.begin(), kOther.end(), extension) != kOther.end())
    throw DataError("{}: expected a JSON array or JSON lines; found {}; convert the file to JSON", file.string(),
                    extension);
}

std::vector<fs::path> files_of(const fs::path& path) {
  if (!fs::is_directory(path)) {
    require_json_file(path);
    return {path};
  }
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_regular_file() && !entry.path().filename().string().starts_with('.')) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  if (files.empty())
    throw DataError("{}: expected data files; found an empty folder; put JSON files there", path.string());
  for (const auto& file : files) require_json_file(file);
  return files;
}

[[noreturn]] void throw_missing_file(const std::string& name, const fs::path& place) {
  for (const auto& download : kDownloads)
    if (download.name == name)
      throw DataError("data set {}: expected the file {}; there is none; get it with `curl -L --create-dirs -o {} {}`",
                      name, place.string(), place.string(), download.url);
  throw DataError("data set {}: expected the file {}; there is none; put it there or correct 'file_name'", name,
                  place.string());
}

// The installation's entries name files that a user has, so they are looked for beside the user's data first.
fs::path locate_file(const DataOptions& options,
                     const Catalog& catalog,
                     const std::string& name,
                     const std::string& file_name) {
  const fs::path first = fs::path(options.dataset_dir) / file_name;
  for (const fs::path& place : {first, catalog.directory / file_name})
    if (fs::exists(place)) return place;
  throw_missing_file(name, first);
}

DatasetSource read_entry(const DataOptions& options, const Catalog& catalog, const std::string& name) {
  const Json& entry = catalog.entries.at(name);
  const std::string where = fmt::format("{} '{}'", (catalog.directory / kInfoFile).string(), name);
  if (!entry.is_object()) throw DataError("{}: expected an object; found {}", where, entry.type_name());
  require_readable_kind(entry, where);
  DatasetSource source{.name = name, .columns = read_columns(entry, where)};
  source.sha1 = text_entry(entry, "file_sha1", where);
  source.files = files_of(locate_file(options, catalog, name, *text_entry(entry, "file_name", where)));
  return source;
}

[[noreturn]] void throw_unknown_name(const DataOptions& options,
                                     const std::vector<Catalog>& catalogs,
                                     const std::string& name) {
  std::vector<std::string> known;
  for (const auto& catalog : catalogs)
    for (const auto& [key, value] : catalog.entries.items())
      if (std::find(known.begin(), known.end(), key) == known.end()) known.push_back(key);
  const std::string near = nearest_name(name, known);
  throw DataError("expected a data set of {} or a file; found '{}'{}; known are: {}",
                  (fs::path(options.dataset_dir) / kInfoFile).string(), name,
                  near.empty() ? "" : fmt::format(", did you mean '{}'?", near),
                  known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", ")));
}

DatasetSource find_dataset(const DataOptions& options, const std::vector<Catalog>& catalogs, const std::string& name) {
  for (const auto& catalog : catalogs)
    if (catalog.entries.contains(name)) return read_entry(options, catalog, name);
  std::error_code ignored;
  if (fs::exists(name, ignored)) return {.name = name, .files = files_of(name)};
  throw_unknown_name(options, catalogs, name);
}

// `a|b`: one text for each data set; a single one holds for all.
std::vector<std::string> system_texts(const DataOptions& options, std::size_t datasets) {
  std::vector<std::string> texts(1);
  for (const char byte : options.system_prompt) {
    if (byte == '|')
      texts.emplace_back();
    else
      texts.back() += byte;
  }
  if (texts.size() == 1) texts.resize(datasets, texts.front());
  if (texts.size() != datasets)
    throw UsageError("--system_prompt must be one text, or one for each of {} data sets, separated by |; found {}",
                     datasets, texts.size());
  return texts;
}

}  // namespace

std::optional<fs::path> installed_data_directory() {
  std::error_code failed;
  const fs::path program = fs::read_symlink("/proc/self/exe", failed);
  if (failed) return std::nullopt;
  // <prefix>/bin/baichuan, and build/<preset>/<folder>/<program> in a source tree.
  const fs::path folder = program.parent_path();
  for (const fs::path& place :
       {folder / "../share/baichuan/data", folder / "../../../data", folder / "../../../../data"})
    if (fs::exists(place / kInfoFile, failed)) return place.lexically_normal();
  return std::nullopt;
}

std::vector<DatasetSource> find_datasets(const DataOptions& options) {
  const auto names = dataset_names(options);
  const auto systems = system_texts(options, names.size());
  const auto catalogs = read_catalogs(options);
  std::vector<DatasetSource> sources;
  for (std::size_t i = 0; i < names.size(); ++i) {
    sources.push_back(find_dataset(options, catalogs, names[i]));
    sources.back().system = systems[i];
  }
  return sources;
}

}  // namespace baichuan
