#include "train/deepspeed_section.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/log.h"
#include "core/nearest.h"
#include "train/deepspeed_keys.h"

namespace baichuan {

namespace {

constexpr double kLargestInteger = 9007199254740992;  // float64 holds all integers up to here

bool is_absent(const OrderedJson& value) {
  return value.is_null() || value == OrderedJson("auto");
}

// 5e8 is an integer too, as for DeepSpeed.
bool is_integer(const OrderedJson& value) {
  if (value.is_number_integer()) return true;
  if (!value.is_number()) return false;
  const double number = value.get<double>();
  return number == std::floor(number) && std::abs(number) <= kLargestInteger;
}

bool has_type(const OrderedJson& value, DeepSpeedType type) {
  switch (type) {
    case DeepSpeedType::kAny:
      return true;
    case DeepSpeedType::kBoolean:
      return value.is_boolean();
    case DeepSpeedType::kInteger:
      return is_integer(value);
    case DeepSpeedType::kNumber:
      return value.is_number();
    case DeepSpeedType::kText:
      return value.is_string();
    case DeepSpeedType::kObject:
      return value.is_object();
  }
  return false;
}

std::string_view type_name(DeepSpeedType type) {
  switch (type) {
    case DeepSpeedType::kBoolean:
      return "true, false or \"auto\"";
    case DeepSpeedType::kInteger:
      return "an integer or \"auto\"";
    case DeepSpeedType::kNumber:
      return "a number or \"auto\"";
    case DeepSpeedType::kText:
      return "a text";
    case DeepSpeedType::kObject:
      return "an object";
    case DeepSpeedType::kAny:
      break;
  }
  return "any value";
}

// A key as messages show it: on one line whatever it holds.
std::string printable(std::string_view key) {
  const std::string quoted = to_json_line(OrderedJson(std::string(key)));
  return quoted.substr(1, quoted.size() - 2);
}

}  // namespace

std::string short_json(const OrderedJson& value) {
  constexpr std::size_t kLongest = 60;
  std::string line = to_json_line(value);
  if (line.size() <= kLongest) return line;
  std::size_t cut = kLongest;
  while (cut > 0 && (static_cast<unsigned char>(line[cut]) & 0xC0) == 0x80) --cut;  // not within a character
  return line.substr(0, cut) + "...";
}

DeepSpeedObject::DeepSpeedObject(const std::string& origin, std::string_view name, const OrderedJson& value)
    : origin_(origin), name_(name), value_(value) {
  for (const auto& [key, member] : value.items()) check(key, member);
}

void DeepSpeedObject::check(const std::string& key, const OrderedJson& value) const {
  const auto* const row = find_deepspeed_key(deepspeed_section(name_), key);
  if (row == nullptr) return report_unknown(key);
  if (is_absent(value)) return;
  if (!has_type(value, row->type)) fail(key, std::string(type_name(row->type)));
  if (row->action == DeepSpeedAction::kHonoured || row->action == DeepSpeedAction::kSilent) return;
  if (!is_on(*row, value)) return;
  switch (row->action) {
    case DeepSpeedAction::kRefused:
      throw UsageError("{}: '{}' is refused: {}; found {}; remove it or switch it off", origin_, path(key), row->reason,
                       short_json(value));
    case DeepSpeedAction::kWarned:
      log::warning("{}: '{}' is ignored: {}", origin_, path(key), row->reason);
      break;
    default:
      log::info("{}: '{}' changes nothing: {}", origin_, path(key), row->reason);
  }
}

void DeepSpeedObject::report_unknown(const std::string& key) const {
  const auto& section = deepspeed_section(name_);
  std::vector<std::string> names;
  for (const auto& row : section.keys) names.emplace_back(row.name);
  const std::string near = nearest_name(key, names);
  if (!section.is_closed) {
    log::warning("{}: '{}' is no key of DeepSpeed and is ignored{}", origin_, path(key),
                 near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
    return;
  }
  throw UsageError("{}: '{}' is no key of DeepSpeed; {}", origin_, path(key),
                   near.empty() ? "remove it, or see docs/DEEPSPEED.md" : fmt::format("did you mean '{}'?", near));
}

std::string DeepSpeedObject::path(std::string_view key) const {
  return name_.empty() ? printable(key) : name_ + "." + printable(key);
}

void DeepSpeedObject::fail(std::string_view key, const std::string& expected) const {
  throw UsageError("{}: '{}' must be {}; found {}", origin_, path(key), expected, short_json(at(key)));
}

bool DeepSpeedObject::given(std::string_view key) const {
  const auto found = value_.find(key);
  return found != value_.end() && !is_absent(*found);
}

bool DeepSpeedObject::automatic(std::string_view key) const {
  const auto found = value_.find(key);
  return found != value_.end() && *found == OrderedJson("auto");
}

const OrderedJson& DeepSpeedObject::at(std::string_view key) const {
  return *value_.find(key);
}

bool DeepSpeedObject::boolean(std::string_view key, bool fallback) const {
  return given(key) ? at(key).get<bool>() : fallback;
}

std::int64_t DeepSpeedObject::integer(std::string_view key,
                                      std::int64_t fallback,
                                      std::int64_t min,
                                      std::int64_t max) const {
  if (!given(key)) return fallback;
  const auto value = at(key).get<std::int64_t>();
  if (value >= min && value <= max) return value;
  if (max == std::numeric_limits<std::int64_t>::max()) fail(key, fmt::format("at least {}", min));
  fail(key, fmt::format("from {} to {}", min, max));
}

double DeepSpeedObject::number(std::string_view key, double fallback, double min) const {
  if (!given(key)) return fallback;
  const auto value = at(key).get<double>();
  if (!(value >= min)) fail(key, fmt::format("at least {}", min));
  return value;
}

std::string DeepSpeedObject::text(std::string_view key, std::string_view fallback) const {
  return given(key) ? at(key).get<std::string>() : std::string(fallback);
}

DeepSpeedObject DeepSpeedObject::section(std::string_view key) const {
  static const OrderedJson nothing = OrderedJson::object();
  return {origin_, path(key), given(key) ? at(key) : nothing};
}

void FlagDisagreements::compare(const std::string& key, double found, const std::string& flag, double wanted) {
  if (found != wanted) add(fmt::format("{}={} against {}={}", key, found, flag, wanted));
}

void FlagDisagreements::compare(const std::string& key, bool found, const std::string& flag, bool wanted) {
  if (found != wanted) add(fmt::format("{}={} against {}={}", key, found, flag, wanted));
}

void FlagDisagreements::report(const std::string& origin) const {
  if (sentences_.empty()) return;
  throw UsageError("{} disagrees with the flags: {}; set these keys to \"auto\" or change the flags", origin,
                   fmt::join(sentences_, "; "));
}

std::string named_value(const DeepSpeedObject& object, std::string_view key) {
  return object.path(key) + (object.given(key) ? "" : " (DeepSpeed's default)");
}

}  // namespace baichuan
