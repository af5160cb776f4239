#include "model/baichuan_config.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/error.h"

namespace baichuan {

namespace {

constexpr int64_t kNormHeadVocabulary = 125696;  // Baichuan 2
constexpr int64_t kRopeHiddenSize = 4096;        // the 7B models

// What is wrong with a configuration: all of it, so that a file is repaired in one round.
class Problems {
 public:
  void add(std::string problem) { found_.push_back(std::move(problem)); }
  void require(bool ok, std::string problem) {
    if (!ok) add(std::move(problem));
  }
  void throw_if_any(std::string_view origin) const {
    if (!found_.empty())
      throw ConfigError("{} does not describe a Baichuan model: {}", origin, fmt::join(found_, "; "));
  }

 private:
  std::vector<std::string> found_;
};

// Typed access to the keys of config.json.
class Keys {
 public:
  Keys(const Json& json, Problems& problems) : json_(json), problems_(problems) {}

  bool has(const char* key) const { return json_.contains(key) && !json_.at(key).is_null(); }

  int64_t integer(const char* key) const {
    if (!has(key)) return missing(key), 0;
    if (!json_.at(key).is_number_integer()) return wrong_type(key, "an integer"), 0;
    return json_.at(key).get<int64_t>();
  }
  int64_t integer_or(const char* key, int64_t otherwise) const { return has(key) ? integer(key) : otherwise; }

  double number(const char* key) const {
    if (!has(key)) return missing(key), 0;
    if (!json_.at(key).is_number()) return wrong_type(key, "a number"), 0;
    return json_.at(key).get<double>();
  }

  bool boolean_or(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    if (!json_.at(key).is_boolean()) return wrong_type(key, "true or false"), otherwise;
    return json_.at(key).get<bool>();
  }

  std::string text_or(const char* key, std::string otherwise) const {
    if (!has(key)) return otherwise;
    if (!json_.at(key).is_string()) return wrong_type(key, "a string"), otherwise;
    return json_.at(key).get<std::string>();
  }

 private:
  void missing(const char* key) const { problems_.add(fmt::format("\"{}\" is missing", key)); }
  void wrong_type(const char* key, const char* wanted) const {
    problems_.add(fmt::format("\"{}\" must be {}, found {}", key, wanted, json_.at(key).dump()));
  }

  const Json& json_;
  Problems& problems_;
};

// A checkpoint of another family may have the same keys; its name gives it away.
void require_baichuan(const Json& json, std::string_view origin) {
  static constexpr std::array kClasses = {"BaichuanForCausalLM", "BaiChuanForCausalLM"};
  const auto foreign = [&](const char* key) {
    throw ConfigError(
        "{}: expected a Baichuan model (\"model_type\": \"baichuan\", \"architectures\": [\"BaichuanForCausalLM\"]); "
        "found "
        "\"{}\": {}; point --model_name_or_path at a Baichuan checkpoint",
        origin, key, json.contains(key) ? json.at(key).dump() : "nothing");
  };
  const bool has_type = json.contains("model_type") && !json["model_type"].is_null();
  const bool has_classes =
      json.contains("architectures") && !json["architectures"].is_null() && json["architectures"] != Json::array();
  if (!has_type && !has_classes) foreign("model_type");
  if (has_type && json["model_type"] != "baichuan") foreign("model_type");
  if (!has_classes) return;
  const auto known = [&](const Json& name) {
    return name.is_string() && std::count(kClasses.begin(), kClasses.end(), name.get<std::string>()) > 0;
  };
  if (!json["architectures"].is_array()) foreign("architectures");
  if (std::none_of(json["architectures"].begin(), json["architectures"].end(), known)) foreign("architectures");
}

bool rope_by_rule(bool has_max_position_embeddings, bool has_model_max_length, int64_t hidden_size) {
  return (has_max_position_embeddings && !has_model_max_length) || hidden_size == kRopeHiddenSize;
}

int64_t max_positions_of(const Keys& keys) {
  // 13B and Baichuan 2 say model_max_length, 7B says max_position_embeddings, its first converters the third.
  for (const char* key : {"model_max_length", "max_position_embeddings", "max_sequence_length"})
    if (keys.has(key)) return keys.integer(key);
  return keys.integer("model_max_length");
}

// Keys of relatives (LLaMA-shaped exports) that would change the maths and that Baichuan's classes do not have.
void refuse_foreign_maths(const Keys& keys, const Json& json, int64_t num_heads, Problems& problems) {
  if (keys.has("num_key_value_heads"))
    problems.require(json["num_key_value_heads"] == num_heads,
                     fmt::format("\"num_key_value_heads\" must equal num_attention_heads ({}), found {}", num_heads,
                                 json["num_key_value_heads"].dump()));
  if (keys.has("hidden_act"))
    problems.require(json["hidden_act"] == "silu",
                     fmt::format("\"hidden_act\" must be \"silu\", found {}", json["hidden_act"].dump()));
  if (keys.has("tie_word_embeddings"))
    problems.require(json["tie_word_embeddings"] == false, "\"tie_word_embeddings\" must be false");
  if (keys.has("rope_theta"))
    problems.require(json["rope_theta"] == 10000,
                     fmt::format("\"rope_theta\" must be 10000, found {}", json["rope_theta"].dump()));
  if (keys.has("rope_scaling")) problems.add("\"rope_scaling\" is not part of Baichuan");
}

void collect_problems(const BaichuanConfig& c, Problems& problems) {
  const auto positive = [&](const char* name, int64_t value) {
    problems.require(value > 0, fmt::format("{} must be positive, found {}", name, value));
  };
  positive("vocab_size", c.vocab_size);
  positive("hidden_size", c.hidden_size);
  positive("intermediate_size", c.intermediate_size);
  positive("num_hidden_layers", c.num_layers);
  positive("num_attention_heads", c.num_heads);
  positive("model_max_length (or max_position_embeddings)", c.max_positions);
  if (c.num_heads > 0 && c.hidden_size > 0) {
    problems.require(
        c.hidden_size % c.num_heads == 0,
        fmt::format("hidden_size ({}) must be a multiple of num_attention_heads ({})", c.hidden_size, c.num_heads));
    problems.require(c.position != PositionEmbedding::kRope || c.head_dim() % 2 == 0,
                     fmt::format("rotary positions need an even head size, found {}", c.head_dim()));
  }
  problems.require(c.rms_norm_eps > 0, fmt::format("rms_norm_eps must be positive, found {}", c.rms_norm_eps));
  problems.require(c.initializer_range >= 0,
                   fmt::format("initializer_range must not be negative, found {}", c.initializer_range));
  const auto token = [&](const char* name, int64_t id) {
    problems.require(id >= 0 && id < std::max<int64_t>(c.vocab_size, 1),
                     fmt::format("{} ({}) is outside the vocabulary of {}", name, id, c.vocab_size));
  };
  token("bos_token_id", c.bos_token_id);
  token("eos_token_id", c.eos_token_id);
  token("pad_token_id", c.pad_token_id);
}

const char* position_name(PositionEmbedding position) {
  return position == PositionEmbedding::kRope ? "rope" : "alibi";
}

}  // namespace

int64_t BaichuanConfig::num_parameters() const {
  const int64_t layer = 4 * hidden_size * hidden_size + 3 * hidden_size * intermediate_size + 2 * hidden_size;
  return 2 * vocab_size * hidden_size + num_layers * layer + hidden_size;
}

void BaichuanConfig::validate() const {
  Problems problems;
  collect_problems(*this, problems);
  problems.throw_if_any("the configuration");
}

BaichuanConfig parse_baichuan_config(const Json& json, std::string_view origin) {
  if (!json.is_object()) throw ConfigError("{}: expected a JSON object; found {}", origin, json.type_name());
  require_baichuan(json, origin);
  Problems problems;
  const Keys keys(json, problems);
  BaichuanConfig config;
  config.source = json;
  config.vocab_size = keys.integer("vocab_size");
  config.hidden_size = keys.integer("hidden_size");
  config.intermediate_size = keys.integer("intermediate_size");
  config.num_layers = keys.integer("num_hidden_layers");
  config.num_heads = keys.integer("num_attention_heads");
  config.max_positions = max_positions_of(keys);
  config.rms_norm_eps = keys.number("rms_norm_eps");
  config.bos_token_id = keys.integer_or("bos_token_id", config.bos_token_id);
  config.eos_token_id = keys.integer_or("eos_token_id", config.eos_token_id);
  config.pad_token_id = keys.integer_or("pad_token_id", config.pad_token_id);
  if (keys.has("initializer_range")) config.initializer_range = keys.number("initializer_range");

  const bool rope = rope_by_rule(keys.has("max_position_embeddings"), keys.has("model_max_length"), config.hidden_size);
  const std::string position = keys.text_or("position_embedding", rope ? "rope" : "alibi");
  if (position != "rope" && position != "alibi")
    problems.add(fmt::format("\"position_embedding\" must be \"alibi\" or \"rope\", found \"{}\"", position));
  config.position = position == "rope" ? PositionEmbedding::kRope : PositionEmbedding::kAlibi;
  config.norm_head = keys.boolean_or("norm_head", config.vocab_size == kNormHeadVocabulary);

  refuse_foreign_maths(keys, json, config.num_heads, problems);
  // Ranges are only worth reporting once every key is there.
  problems.throw_if_any(origin);
  collect_problems(config, problems);
  problems.throw_if_any(origin);
  return config;
}

BaichuanConfig load_baichuan_config(const fs::path& model_directory_or_json) {
  const fs::path path =
      fs::is_directory(model_directory_or_json) ? model_directory_or_json / "config.json" : model_directory_or_json;
  if (!fs::exists(path))
    throw ConfigError("expected a model's config.json; {} does not exist; give a Hugging Face model directory",
                      path.string());
  return parse_baichuan_config(read_json_file(path), path.string());
}

BaichuanConfig preset_config(std::string_view preset) {
  struct Preset {
    std::string_view name;
    int64_t vocab_size, hidden_size, intermediate_size, num_layers, num_heads;
    PositionEmbedding position;
  };
  static constexpr auto kAlibi = PositionEmbedding::kAlibi;
  static constexpr auto kRope = PositionEmbedding::kRope;
  static constexpr std::array kPresets = {
      Preset{"tiny", 0, 320, 864, 4, 5, kAlibi},  // 5 heads: slopes of a head count that is no power of two
      Preset{"7b", 64000, 4096, 11008, 32, 32, kRope},
      Preset{"13b", 64000, 5120, 13696, 40, 40, kAlibi},
      Preset{"baichuan2-7b", kNormHeadVocabulary, 4096, 11008, 32, 32, kRope},
      Preset{"baichuan2-13b", kNormHeadVocabulary, 5120, 13696, 40, 40, kAlibi},
  };
  for (const Preset& p : kPresets) {
    if (p.name != preset) continue;
    BaichuanConfig config;
    config.vocab_size = p.vocab_size;
    config.hidden_size = p.hidden_size;
    config.intermediate_size = p.intermediate_size;
    config.num_layers = p.num_layers;
    config.num_heads = p.num_heads;
    config.max_positions = 4096;
    config.rms_norm_eps = 1e-6;
    config.position = p.position;
    config.norm_head = p.vocab_size == kNormHeadVocabulary;
    return config;
  }
  throw UsageError("expected --preset tiny, 7b, 13b, baichuan2-7b or baichuan2-13b; found {}", preset);
}

OrderedJson to_config_json(const BaichuanConfig& config, std::string_view torch_dtype) {
  OrderedJson json = OrderedJson::object();
  for (const auto& [key, value] : config.source.items()) json[key] = value;
  const bool rope = config.position == PositionEmbedding::kRope;
  const bool first_7b = rope && !config.norm_head;
  if (!json.contains("architectures"))
    json["architectures"] = {first_7b ? "BaiChuanForCausalLM" : "BaichuanForCausalLM"};
  json["model_type"] = "baichuan";
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_layers;
  json["num_attention_heads"] = config.num_heads;
  json["hidden_act"] = "silu";
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["initializer_range"] = config.initializer_range;
  if (!json.contains("model_max_length") && !json.contains("max_position_embeddings")) {
    if (rope) json["max_position_embeddings"] = config.max_positions;
    if (!first_7b) json["model_max_length"] = config.max_positions;
  }
  json["bos_token_id"] = config.bos_token_id;
  json["eos_token_id"] = config.eos_token_id;
  json["pad_token_id"] = config.pad_token_id;
  json["tie_word_embeddings"] = false;
  json["use_cache"] = json.value("use_cache", true);
  json["torch_dtype"] = torch_dtype;

  // What the rules of reading would not find out by themselves is written down.
  const bool by_rule =
      rope_by_rule(json.contains("max_position_embeddings"), json.contains("model_max_length"), config.hidden_size);
  if (by_rule != rope || json.contains("position_embedding"))
    json["position_embedding"] = position_name(config.position);
  if (config.norm_head != (config.vocab_size == kNormHeadVocabulary) || json.contains("norm_head"))
    json["norm_head"] = config.norm_head;
  return json;
}

}  // namespace baichuan
