#include "lora/adapter_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <regex>

#include "core/error.h"
#include "core/files.h"
#include "lora/lora_options.h"

namespace baichuan {
namespace {

// Reads keys with messages that name file, key and value.
class ConfigKeys {
 public:
  explicit ConfigKeys(const fs::path& path) : path_(path) {
    if (!fs::exists(path))
      throw CheckpointError(
          "{}: expected an adapter's directory with adapter_config.json and adapter_model; found no "
          "such file; check --adapter_name_or_path",
          path.string());
    const std::string text = read_file(path);
    if (!parse_json(text, path.string()).is_object()) fail("a JSON object", "something else");
    json_ = OrderedJson::parse(text);  // the order of the patterns counts
  }

  // The value of a key that is there and not null.
  const OrderedJson* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  double number(const char* key) const {
    const OrderedJson& value = required(key);
    if (!value.is_number()) fail(fmt::format("a number as {}", key), value.dump());
    return value.get<double>();
  }
  double number_or(const char* key, double otherwise) const { return find(key) == nullptr ? otherwise : number(key); }

  std::int64_t positive_integer(const char* key) const { return as_positive_integer(key, required(key)); }
  std::int64_t as_positive_integer(const std::string& key, const OrderedJson& value) const {
    if (!value.is_number_integer() || value.get<std::int64_t>() < 1)
      fail(fmt::format("a positive integer as {}", key), value.dump());
    return value.get<std::int64_t>();
  }

  const OrderedJson& required(const char* key) const {
    const OrderedJson* const value = find(key);
    if (value == nullptr) fail(fmt::format("the key {}", key), "none");
    return *value;
  }

  [[noreturn]] void fail(const std::string& expected, const std::string& found) const {
    throw CheckpointError("{}: expected {}; found {}; use the file that PEFT or this program wrote beside the weights",
                          path_.string(), expected, found);
  }
  [[noreturn]] void refuse(const char* key, const OrderedJson& value) const {
    throw CheckpointError(
        "{}: expected a plain LoRA adapter; found {} = {}, which changes the arithmetic and is not "
        "supported; merge the adapter with PEFT and use the merged model",
        path_.string(), key, value.dump());
  }

 private:
  fs::path path_;
  OrderedJson json_;
};

// Anything but an empty value of these would change what an adapter computes.
constexpr std::array kUnsupported = {
    "alora_invocation_tokens", "arrow_config", "exclude_modules", "fan_in_fan_out",    "kasa_config",
    "layer_replication",       "lora_bias",    "modules_to_save", "monteclora_config", "target_parameters",
    "trainable_token_indices", "use_bdlora",   "use_dora",        "use_qalora",        "velora_config",
};

bool says_nothing(const OrderedJson& value) {
  return value.is_null() || value == OrderedJson(false) || ((value.is_array() || value.is_object()) && value.empty());
}

void refuse_other_arithmetic(const ConfigKeys& keys) {
  for (const char* key : kUnsupported)
    if (const auto* value = keys.find(key); value != nullptr && !says_nothing(*value)) keys.refuse(key, *value);
  if (const auto* type = keys.find("peft_type"); type != nullptr && *type != "LORA") keys.refuse("peft_type", *type);
  if (const auto* bias = keys.find("bias"); bias != nullptr && *bias != "none") keys.refuse("bias", *bias);
  // These initialisations subtract the adapter's beginning from the base, which is then no longer the base on disk.
  if (const auto* init = keys.find("init_lora_weights"); init != nullptr && init->is_string()) {
    const auto name = init->get<std::string>();
    for (const char* changes_base : {"pissa", "olora", "corda", "loftq", "lora_ga"})
      if (name.starts_with(changes_base)) keys.refuse("init_lora_weights", *init);
  }
}

std::vector<std::string> names_in(const ConfigKeys& keys, const OrderedJson& list) {
  std::vector<std::string> names;
  for (const auto& name : list) {
    if (!name.is_string()) keys.fail("names as target_modules", name.dump());
    names.push_back(name.get<std::string>());
  }
  return names;
}

void read_targets(const ConfigKeys& keys, AdapterConfig& config) {
  const OrderedJson& modules = keys.required("target_modules");
  if (modules.is_string()) {
    if (modules == "all-linear")
      config.targets = parse_lora_target("all");
    else
      config.target_expression = modules.get<std::string>();
  } else if (modules.is_array() && !modules.empty()) {
    config.targets = names_in(keys, modules);
  } else {
    keys.fail("names as target_modules", modules.dump());
  }
  if (const auto* layers = keys.find("layers_to_transform")) {
    const OrderedJson list = layers->is_array() ? *layers : OrderedJson::array({*layers});
    for (const auto& layer : list) {
      if (!layer.is_number_integer()) keys.fail("layer numbers as layers_to_transform", layer.dump());
      config.layers.push_back(layer.get<std::int64_t>());
    }
  }
}

void read_patterns(const ConfigKeys& keys, AdapterConfig& config) {
  if (const auto* pattern = keys.find("rank_pattern"))
    for (const auto& [key, value] : pattern->items())
      config.rank_pattern.emplace_back(key, keys.as_positive_integer("rank_pattern." + key, value));
  if (const auto* pattern = keys.find("alpha_pattern"))
    for (const auto& [key, value] : pattern->items()) {
      if (!value.is_number()) keys.fail("a number as alpha_pattern." + key, value.dump());
      config.alpha_pattern.emplace_back(key, value.get<double>());
    }
}

void check_expressions(const ConfigKeys& keys, const AdapterConfig& config) {
  std::vector<std::string> expressions = {config.target_expression};
  for (const auto& [key, rank] : config.rank_pattern) expressions.push_back(key);
  for (const auto& [key, alpha] : config.alpha_pattern) expressions.push_back(key);
  for (const std::string& expression : expressions) {
    try {
      const std::regex compiled(expression);
    } catch (const std::regex_error&) {
      keys.fail("a regular expression", "'" + expression + "'");
    }
  }
}

template <class Value>
Value value_of(const std::vector<std::pair<std::string, Value>>& pattern, std::string_view module, Value otherwise) {
  for (const auto& [key, value] : pattern)
    if (std::regex_match(module.begin(), module.end(), std::regex("(.*\\.)?(" + key + ")"))) return value;
  return otherwise;
}

// 12 of "model.layers.12.self_attn.W_pack".
std::optional<std::int64_t> layer_of(std::string_view module) {
  constexpr std::string_view kBefore = "layers.";
  const auto at = module.find(kBefore);
  std::int64_t layer = 0;
  if (at == std::string_view::npos) return {};
  const char* const digits = module.data() + at + kBefore.size();
  if (std::from_chars(digits, module.data() + module.size(), layer).ec != std::errc()) return {};
  return layer;
}

}  // namespace

bool AdapterConfig::covers(std::string_view module) const {
  if (!target_expression.empty()) return std::regex_match(module.begin(), module.end(), std::regex(target_expression));
  const bool named = std::any_of(targets.begin(), targets.end(), [&](const std::string& target) {
    return module == target || module.ends_with("." + target);
  });
  if (!named || layers.empty()) return named;
  const auto layer = layer_of(module);
  return layer && std::find(layers.begin(), layers.end(), *layer) != layers.end();
}

std::int64_t AdapterConfig::rank_of(std::string_view module) const {
  return value_of(rank_pattern, module, rank);
}

double AdapterConfig::scaling_of(std::string_view module) const {
  const auto module_rank = static_cast<double>(rank_of(module));
  return value_of(alpha_pattern, module, alpha) / (rank_stabilized ? std::sqrt(module_rank) : module_rank);
}

AdapterConfig read_adapter_config(const fs::path& adapter_directory) {
  const ConfigKeys keys(adapter_directory / "adapter_config.json");
  refuse_other_arithmetic(keys);
  AdapterConfig config;
  config.rank = keys.positive_integer("r");
  config.alpha = keys.number("lora_alpha");
  config.dropout = keys.number_or("lora_dropout", 0);
  if (!(config.dropout >= 0 && config.dropout < 1))
    keys.fail("a lora_dropout from 0 up to but without 1", fmt::format("{}", config.dropout));
  if (const auto* stabilized = keys.find("use_rslora")) config.rank_stabilized = *stabilized == OrderedJson(true);
  read_targets(keys, config);
  read_patterns(keys, config);
  check_expressions(keys, config);
  return config;
}

Json adapter_config_json(const AdapterConfig& config, const std::string& base_model_name) {
  Json json = {
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", base_model_name},
      {"bias", "none"},
      {"fan_in_fan_out", false},
      {"inference_mode", true},
      {"init_lora_weights", true},
      {"layers_pattern", nullptr},
      {"layers_to_transform", config.layers.empty() ? Json() : Json(config.layers)},
      {"lora_alpha", config.alpha},
      {"lora_dropout", config.dropout},
      {"modules_to_save", nullptr},
      {"peft_type", "LORA"},
      {"r", config.rank},
      {"revision", nullptr},
      {"target_modules", config.target_expression.empty() ? Json(config.targets) : Json(config.target_expression)},
      {"task_type", "CAUSAL_LM"},
  };
  // Keys that the tools of 2023 did not know are written only where they say something.
  if (config.rank_stabilized) json["use_rslora"] = true;
  for (const auto& [key, rank] : config.rank_pattern) json["rank_pattern"][key] = rank;
  for (const auto& [key, alpha] : config.alpha_pattern) json["alpha_pattern"][key] = alpha;
  return json;
}

}  // namespace baichuan
