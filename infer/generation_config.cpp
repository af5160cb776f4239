#include "infer/generation_config.h"

#include <limits>
#include <string>

#include "core/error.h"
#include "core/json.h"
#include "model/default_files.h"

namespace baichuan {

namespace {

class KeyReader {
 public:
  KeyReader(const Json& json, std::string file) : json_(json), file_(std::move(file)) {}

  // Leaves `value` alone when the key is missing or null.
  void read(const char* key, std::optional<bool>& value) const {
    if (const Json* found = find(key)) {
      if (!found->is_boolean()) refuse(key, "true or false", *found);
      value = found->get<bool>();
    }
  }

  void read(const char* key, std::optional<double>& value, double min, double max) const {
    if (const Json* found = find(key)) value = number(key, *found, min, max);
  }

  void read(const char* key, std::optional<std::int64_t>& value, std::int64_t min) const {
    if (const Json* found = find(key)) value = whole(key, *found, min);
  }

  void read_id(const char* key, std::int32_t& value) const {
    if (const Json* found = find(key)) value = static_cast<std::int32_t>(whole(key, *found, 0));
  }

  // One id or a list of ids.
  void read_ids(const char* key, std::vector<std::int32_t>& values) const {
    const Json* const found = find(key);
    if (found == nullptr) return;
    const Json list = found->is_array() ? *found : Json::array({*found});
    for (const Json& id : list) values.push_back(static_cast<std::int32_t>(whole(key, id, 0)));
  }

 private:
  const Json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  double number(const char* key, const Json& value, double min, double max) const {
    if (!value.is_number() || value.get<double>() < min || value.get<double>() > max)
      refuse(key, fmt::format("a number from {} to {}", min, max), value);
    return value.get<double>();
  }

  std::int64_t whole(const char* key, const Json& value, std::int64_t min) const {
    constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
    if (!value.is_number_integer() || value.get<std::int64_t>() < min || value.get<std::int64_t>() > kMax)
      refuse(key, fmt::format("a whole number of at least {}", min), value);
    return value.get<std::int64_t>();
  }

  [[noreturn]] void refuse(const char* key, const std::string& expected, const Json& found) const {
    throw ConfigError("{}: '{}' must be {}; found {}; correct the file or remove the key", file_, key, expected,
                      found.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

  const Json& json_;
  std::string file_;
};

}  // namespace

GenerationConfig load_generation_config(const std::filesystem::path& model_directory, const BaichuanConfig& model) {
  GenerationConfig config;
  const auto path = model_directory / "generation_config.json";
  const Json json =
      std::filesystem::exists(path) ? read_json_file(path) : Json::parse(default_generation_config(model).dump());
  if (!json.is_object())
    throw ConfigError("{}: expected a JSON object; found {}; copy the file of the published model", path.string(),
                      json.type_name());
  const KeyReader reader(json, path.string());
  reader.read("do_sample", config.do_sample);
  reader.read("temperature", config.temperature, 0, 1e4);
  reader.read("top_k", config.top_k, 0);
  reader.read("top_p", config.top_p, 0, 1);
  reader.read("repetition_penalty", config.repetition_penalty, 1e-3, 1e3);
  reader.read("max_new_tokens", config.max_new_tokens, 1);
  reader.read_ids("eos_token_id", config.eos_token_ids);
  reader.read_id("user_token_id", config.user_token_id);
  reader.read_id("assistant_token_id", config.assistant_token_id);
  return config;
}

SamplingOptions resolve_sampling(const GenerationOptions& options, const GenerationConfig& config) {
  SamplingOptions result;
  const auto choose = [](auto& value, const auto& flag, const auto& file) {
    value = flag ? *flag : file ? *file : value;
  };
  choose(result.do_sample, options.do_sample, config.do_sample);
  choose(result.temperature, options.temperature, config.temperature);
  choose(result.top_k, options.top_k, config.top_k);
  choose(result.top_p, options.top_p, config.top_p);
  choose(result.repetition_penalty, options.repetition_penalty, config.repetition_penalty);
  return result;
}

}  // namespace baichuan
