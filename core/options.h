// Options are declared once: a struct with member initialisers (the only place of a default) and a static
// describe(field) that lists name, help, unit, range. The command line, JSON recipes, --help, docs/OPTIONS.md and
// the saved configuration are all read off the table made here.
//
//   struct OptimizerOptions {
//     double learning_rate = 5e-5;
//     static void describe(auto&& field) {
//       using O = OptimizerOptions;
//       field(&O::learning_rate, {.name = "learning_rate", .help = "Peak rate.", .range = {.min = 0}});
//     }
//   };
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/json.h"

namespace baichuan {

struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

enum class Support {
  kBuilt,
  kNoEffect,  // accepted because command lines hold it; says once that it changes nothing
  kNotBuilt,  // known, not built yet: stops with its name (exit status 2)
};

struct FieldInfo {
  std::string_view name;    // snake_case: flag and JSON key
  std::string_view help{};  // one sentence, ends with a full stop
  std::string_view unit{};  // "tokens", "steps", "GiB"; empty when dimensionless
  Range range{};
  std::string_view aliases{};  // older names, separated by commas
  std::string_view choices{};  // "a|b|c": nothing else is allowed
  Support support = Support::kBuilt;
  std::string_view bare{};  // what the flag means without a value; a truth value means true anyway
};

enum class OptionKind { kBool, kInteger, kNumber, kText };

// One option of a command, bound to the member that holds its value.
struct OptionSlot {
  std::string group;
  FieldInfo info;
  OptionKind kind;
  bool optional;                                     // std::optional: may be unset
  std::function<void(const std::string& text)> set;  // throws UsageError naming flag and value
  std::function<Json()> get;                         // null when unset
  Json default_value;
  bool given = false;  // by the command line or a recipe

  std::vector<std::string> alias_list() const;
  std::string_view bare_value() const { return kind == OptionKind::kBool ? "true" : info.bare; }
};

namespace detail {

bool parse_bool(std::string_view flag, const std::string& text);
std::int64_t parse_integer(const FieldInfo& info, const std::string& text);
double parse_number(const FieldInfo& info, const std::string& text);
std::string parse_text(const FieldInfo& info, const std::string& text);

template <class T>
struct OptionType {
  using Value = T;
  static constexpr bool kOptional = false;
};
template <class T>
struct OptionType<std::optional<T>> {
  using Value = T;
  static constexpr bool kOptional = true;
};

template <class T>
constexpr OptionKind kind_of() {
  if constexpr (std::is_same_v<T, bool>)
    return OptionKind::kBool;
  else if constexpr (std::is_integral_v<T>)
    return OptionKind::kInteger;
  else if constexpr (std::is_floating_point_v<T>)
    return OptionKind::kNumber;
  else
    return OptionKind::kText;
}

template <class T>
Json to_json_value(const T& value) {
  return Json(value);
}
template <class T>
Json to_json_value(const std::optional<T>& value) {
  return value.has_value() ? Json(*value) : Json();
}

template <class Fn>
struct Visit {
  Fn fn;
  template <class S, class T>
  void operator()(T S::*member, const FieldInfo& info) {
    fn(member, info);
  }
};

}  // namespace detail

// The options of one command. Holds pointers into the structs given to add(): they must outlive it.
class OptionTable {
 public:
  template <class S>
  void add(std::string group, S& options);

  // An option that is only accepted (NoEffect or NotBuilt): its text is kept in the table.
  void add_accepted(std::string group, const FieldInfo& info, OptionKind kind, const Json& default_value);

  // By name or alias, dashes read as underscores; null when there is none.
  OptionSlot* find(std::string_view name);
  const OptionSlot* find(std::string_view name) const;
  bool given(std::string_view name) const;

  const std::vector<OptionSlot>& slots() const { return slots_; }
  std::vector<std::string> all_names() const;  // aliases included

  // Values as JSON, in declaration order; what is unset is left out.
  OrderedJson to_json() const;

 private:
  void add_slot(OptionSlot slot);

  std::vector<OptionSlot> slots_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

template <class S>
void OptionTable::add(std::string group, S& options) {
  S::describe(detail::Visit{[&]<class O, class T>(T O::*member, const FieldInfo& info) {
    using Type = detail::OptionType<T>;
    using Value = typename Type::Value;
    OptionSlot slot{group, info, detail::kind_of<Value>(), Type::kOptional, {}, {}, {}, false};
    slot.set = [&options, member, info](const std::string& text) {
      if constexpr (std::is_same_v<Value, bool>)
        options.*member = detail::parse_bool(info.name, text);
      else if constexpr (std::is_integral_v<Value>)
        options.*member = detail::parse_integer(info, text);
      else if constexpr (std::is_floating_point_v<Value>)
        options.*member = detail::parse_number(info, text);
      else
        options.*member = detail::parse_text(info, text);
    };
    slot.get = [&options, member] { return detail::to_json_value(options.*member); };
    slot.default_value = slot.get();
    add_slot(std::move(slot));
  }});
}

}  // namespace baichuan
