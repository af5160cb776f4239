#include "core/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <memory>

#include "core/error.h"
#include "core/list_text.h"

namespace baichuan {

namespace {

std::string normalised(std::string_view name) {
  std::string result(name);
  std::replace(result.begin(), result.end(), '-', '_');
  return result;
}

void require_in_range(const FieldInfo& info, double value, const std::string& text) {
  if (std::isnan(value) || value < info.range.min || value > info.range.max)
    throw UsageError("--{} must be from {} to {}{}{}; found {}", info.name, info.range.min, info.range.max,
                     info.unit.empty() ? "" : " ", info.unit, text);
}

}  // namespace

namespace detail {

// The words that argparse-based tools of the Python stack take for truth values.
bool parse_bool(std::string_view flag, const std::string& text) {
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* yes : {"yes", "true", "t", "y", "1"})
    if (lower == yes) return true;
  for (const char* no : {"no", "false", "f", "n", "0"})
    if (lower == no) return false;
  throw UsageError("--{} must be true or false; found '{}'", flag, text);
}

std::int64_t parse_integer(const FieldInfo& info, const std::string& text) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const auto [stop, failure] = std::from_chars(begin, end, value);
  if (failure != std::errc() || stop != end)
    throw UsageError("--{} must be a whole number; found '{}'", info.name, text);
  require_in_range(info, static_cast<double>(value), text);
  return value;
}

double parse_number(const FieldInfo& info, const std::string& text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const auto [stop, failure] = std::from_chars(begin, end, value);
  if (failure != std::errc() || stop != end) throw UsageError("--{} must be a number; found '{}'", info.name, text);
  require_in_range(info, value, text);
  return value;
}

std::string parse_text(const FieldInfo& info, const std::string& text) {
  if (info.choices.empty()) return text;
  const auto allowed = split(info.choices, '|');
  if (std::find(allowed.begin(), allowed.end(), text) == allowed.end())
    throw UsageError("--{} must be one of {}; found '{}'", info.name, fmt::join(allowed, ", "), text);
  return text;
}

}  // namespace detail

std::vector<std::string> OptionSlot::alias_list() const {
  if (info.aliases.empty()) return {};
  const auto names = split(info.aliases, ',');
  return {names.begin(), names.end()};
}

void OptionTable::add_slot(OptionSlot slot) {
  const std::size_t index = slots_.size();
  auto names = slot.alias_list();
  names.emplace_back(slot.info.name);
  for (const auto& name : names)
    if (!by_name_.emplace(name, index).second) throw std::logic_error("option declared twice: " + name);
  slots_.push_back(std::move(slot));
}

void OptionTable::add_accepted(std::string group, const FieldInfo& info, OptionKind kind, const Json& default_value) {
  auto value = std::make_shared<Json>(default_value);
  OptionSlot slot{std::move(group), info, kind, default_value.is_null(), {}, {}, default_value, false};
  slot.set = [value, info, kind](const std::string& text) {
    switch (kind) {
      case OptionKind::kBool:
        *value = detail::parse_bool(info.name, text);
        break;
      case OptionKind::kInteger:
        *value = detail::parse_integer(info, text);
        break;
      case OptionKind::kNumber:
        *value = detail::parse_number(info, text);
        break;
      case OptionKind::kText:
        *value = detail::parse_text(info, text);
    }
  };
  slot.get = [value] { return *value; };
  add_slot(std::move(slot));
}

OptionSlot* OptionTable::find(std::string_view name) {
  const auto found = by_name_.find(normalised(name));
  return found == by_name_.end() ? nullptr : &slots_[found->second];
}

const OptionSlot* OptionTable::find(std::string_view name) const {
  return const_cast<OptionTable*>(this)->find(name);
}

bool OptionTable::given(std::string_view name) const {
  const OptionSlot* const slot = find(name);
  return slot != nullptr && slot->given;
}

std::vector<std::string> OptionTable::all_names() const {
  std::vector<std::string> names;
  for (const auto& [name, index] : by_name_) names.push_back(name);
  return names;
}

OrderedJson OptionTable::to_json() const {
  OrderedJson result = OrderedJson::object();
  for (const auto& slot : slots_) {
    const Json value = slot.get();
    if (!value.is_null() && slot.info.support == Support::kBuilt) result[std::string(slot.info.name)] = value;
  }
  return result;
}

}  // namespace baichuan
