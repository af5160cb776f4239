#include "lora/adapter_config.h"

#include <cmath>

#include "core/error.h"
#include "core/files.h"

namespace baichuan {

namespace {

constexpr std::string_view kPrefix = "base_model.model.";

bool ends_with_module(std::string_view module, std::string_view name) {
  return module == name ||
         (module.size() > name.size() && module.ends_with(name) && module[module.size() - name.size() - 1] == '.');
}

template <class T>
T pattern_value(const std::map<std::string, T>& patterns, std::string_view module, T fallback) {
  for (const auto& [name, value] : patterns)
    if (ends_with_module(module, name)) return value;
  return fallback;
}

// Keys that change the maths in ways that are not built; the value that leaves it unchanged.
void refuse_other_maths(const std::filesystem::path& path, const Json& file) {
  const std::pair<const char*, Json> neutral[] = {{"bias", "none"},
                                                  {"use_dora", false},
                                                  {"modules_to_save", Json()},
                                                  {"lora_bias", false},
                                                  {"use_qalora", false},
                                                  {"layer_replication", Json()},
                                                  {"trainable_token_indices", Json()},
                                                  {"target_parameters", Json()},
                                                  {"fan_in_fan_out", false}};
  for (const auto& [key, value] : neutral) {
    if (!file.contains(key) || file[key].is_null() || file[key] == value) continue;
    if (file[key].is_array() && file[key].empty()) continue;
    throw CheckpointError("{}: '{}' is {}, which is not built; train the adapter with {}", path.string(), key,
                          file[key].dump(), value.dump());
  }
  const std::string type = file.value("peft_type", "LORA");
  if (type != "LORA") throw CheckpointError("{}: expected peft_type LORA; found {}", path.string(), type);
}

std::vector<std::string> targets_of(const Json& value) {
  if (value.is_array()) return value.get<std::vector<std::string>>();
  if (value.is_string()) return {value.get<std::string>()};
  return {};
}

}  // namespace

std::int64_t AdapterConfig::rank_of(std::string_view module) const {
  return pattern_value(rank_pattern, module, rank);
}

double AdapterConfig::scaling_of(std::string_view module) const {
  const auto r = static_cast<double>(rank_of(module));
  return pattern_value(alpha_pattern, module, alpha) / (use_rslora ? std::sqrt(r) : r);
}

AdapterConfig read_adapter_config(const std::filesystem::path& adapter_directory) {
  const auto path = adapter_directory / "adapter_config.json";
  if (!std::filesystem::exists(path))
    throw CheckpointError(
        "{}: expected an adapter directory with adapter_config.json; found none; give the folder that PEFT or "
        "`baichuan train` wrote",
        adapter_directory.string());
  const Json file = read_json_file(path);
  if (!file.is_object()) throw CheckpointError("{}: expected a JSON object", path.string());
  refuse_other_maths(path, file);
  AdapterConfig config;
  try {
    config.rank = file.value("r", std::int64_t{8});
    config.alpha = file.value("lora_alpha", 8.0);
    config.dropout = file.value("lora_dropout", 0.0);
    config.use_rslora = file.value("use_rslora", false);
    if (file.contains("target_modules")) config.target_modules = targets_of(file["target_modules"]);
    if (file.contains("rank_pattern")) config.rank_pattern = file["rank_pattern"].get<decltype(config.rank_pattern)>();
    if (file.contains("alpha_pattern"))
      config.alpha_pattern = file["alpha_pattern"].get<decltype(config.alpha_pattern)>();
    if (file.contains("base_model_name_or_path") && file["base_model_name_or_path"].is_string())
      config.base_model = file["base_model_name_or_path"];
  } catch (const Json::exception& error) {
    throw CheckpointError("{}: a key has the wrong type: {}", path.string(), error.what());
  }
  if (config.rank <= 0) throw CheckpointError("{}: expected r above 0; found {}", path.string(), config.rank);
  return config;
}

void write_adapter_config(const std::filesystem::path& adapter_directory, const AdapterConfig& config) {
  Json file = {{"auto_mapping", nullptr},
               {"base_model_name_or_path", config.base_model},
               {"bias", "none"},
               {"fan_in_fan_out", false},
               {"inference_mode", true},
               {"init_lora_weights", true},
               {"layers_pattern", nullptr},
               {"layers_to_transform", nullptr},
               {"lora_alpha", config.alpha},
               {"lora_dropout", config.dropout},
               {"modules_to_save", nullptr},
               {"peft_type", "LORA"},
               {"r", config.rank},
               {"revision", nullptr},
               {"target_modules", config.target_modules},
               {"task_type", "CAUSAL_LM"}};
  // Keys of later PEFT versions appear only where they say something.
  if (!config.rank_pattern.empty()) file["rank_pattern"] = config.rank_pattern;
  if (!config.alpha_pattern.empty()) file["alpha_pattern"] = config.alpha_pattern;
  if (config.use_rslora) file["use_rslora"] = true;
  write_json_file(adapter_directory / "adapter_config.json", file);
}

std::string adapter_tensor_name(std::string_view module, std::string_view part) {
  return fmt::format("{}{}.{}.weight", kPrefix, module, part);
}

std::string adapter_module_of(std::string_view tensor_name) {
  if (!tensor_name.starts_with(kPrefix)) return {};
  for (const std::string_view part :
       {".lora_A.weight", ".lora_B.weight", ".lora_A.default.weight", ".lora_B.default.weight"})
    if (tensor_name.ends_with(part))
      return std::string(tensor_name.substr(kPrefix.size(), tensor_name.size() - kPrefix.size() - part.size()));
  return {};
}

std::vector<std::string> split_names(std::string_view list) {
  std::vector<std::string> names;
  while (!list.empty()) {
    const auto comma = list.find(',');
    std::string_view name = list.substr(0, comma);
    while (!name.empty() && name.front() == ' ') name.remove_prefix(1);
    while (!name.empty() && name.back() == ' ') name.remove_suffix(1);
    if (!name.empty()) names.emplace_back(name);
    list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
  }
  return names;
}

}  // namespace baichuan
