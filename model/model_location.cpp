#include "model/model_location.h"

#include <cstdlib>
#include <regex>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/list_text.h"

namespace baichuan {

namespace {

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return {};
  return value;
}

fs::path user_cache() {
  if (const auto xdg = environment("XDG_CACHE_HOME")) return *xdg;
  return fs::path(environment("HOME").value_or("/root")) / ".cache";
}

bool is_hub_id(const std::string& name) {
  static const std::regex form("[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*");
  return std::regex_match(name, form);
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

bool is_model(const fs::path& directory) {
  std::error_code ignored;
  return fs::is_regular_file(directory / "config.json", ignored);
}

// <root>/models--org--name/refs/<revision> holds the commit, whose files are in snapshots/<commit>.
std::optional<fs::path> find_hugging_face(const fs::path& root, const std::string& id, const std::string& revision) {
  const fs::path repository = root / ("models--" + replaced(id, "/", "--"));
  std::error_code ignored;
  std::string commit = revision;  // a commit hash names its snapshot directly
  const fs::path reference = repository / "refs" / revision;
  if (fs::is_regular_file(reference, ignored)) commit = std::string(trimmed(read_file(reference)));
  const fs::path snapshot = repository / "snapshots" / commit;
  if (!commit.empty() && is_model(snapshot)) return snapshot;
  return {};
}

std::vector<fs::path> hugging_face_roots(const std::optional<std::string>& cache_dir) {
  std::vector<fs::path> roots;
  if (cache_dir) roots.emplace_back(*cache_dir);
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const auto value = environment(name)) roots.emplace_back(*value);
  const auto home = environment("HF_HOME");
  roots.push_back((home ? fs::path(*home) : user_cache() / "huggingface") / "hub");
  return roots;
}

// ModelScope keeps one directory a model, <root>/org/name, with dots of the name written as three underscores.
std::vector<fs::path> model_scope_directories(const std::optional<std::string>& cache_dir, const std::string& id) {
  std::vector<fs::path> roots;
  if (cache_dir) roots.emplace_back(*cache_dir);
  if (const auto value = environment("MODELSCOPE_CACHE")) roots.emplace_back(*value);
  roots.push_back(fs::path(environment("HOME").value_or("/root")) / ".cache" / "modelscope");
  std::vector<fs::path> directories;
  for (const fs::path& root : roots)
    for (const char* folder : {"", "models", "hub", "hub/models"})
      for (const std::string& written : {id, replaced(id, ".", "___")}) directories.push_back(root / folder / written);
  return directories;
}

}  // namespace

fs::path resolve_model_directory(const std::string& name,
                                 const std::optional<std::string>& cache_dir,
                                 const std::string& revision) {
  if (name.empty()) throw UsageError("expected a model directory or hub id; found none; give --model_name_or_path DIR");
  std::error_code ignored;
  if (fs::is_directory(name, ignored)) return name;
  if (!is_hub_id(name) || fs::exists(name, ignored))
    throw MachineError("expected a model directory or a hub id (org/name); {} {}; check --model_name_or_path", name,
                       fs::exists(name, ignored) ? "is a file" : "does not exist");

  std::vector<std::string> searched;
  for (const fs::path& root : hugging_face_roots(cache_dir)) {
    if (const auto found = find_hugging_face(root, name, revision)) return *found;
    searched.push_back(root.string());
  }
  for (const fs::path& directory : model_scope_directories(cache_dir, name))
    if (is_model(directory)) return directory;
  searched.push_back("ModelScope's cache");
  const std::string flag = revision == "main" ? "" : " --revision " + revision;
  throw MachineError(
      "expected a model directory or a hub id in a local cache; {} (revision {}) is no directory here and is not in "
      "{}; "
      "download it with `hf download {}{}` (`huggingface-cli download` before version 1), or give its directory",
      name, revision, fmt::join(searched, ", "), name, flag);
}

}  // namespace baichuan
