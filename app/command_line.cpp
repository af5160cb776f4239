#include "app/command_line.h"

#include <algorithm>
#include <cctype>
#include <set>

#include <cxxopts.hpp>

#include "core/error.h"
#include "core/log.h"
#include "core/nearest.h"

namespace baichuan {

namespace {

bool is_blank(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isspace(c); });
}

// argparse takes "-1" and "-.5" for values, everything else that starts with a dash for an option.
bool looks_like_option(const std::string& text) {
  if (text.size() < 2 || text[0] != '-') return false;
  return !(std::isdigit(static_cast<unsigned char>(text[1])) || text[1] == '.');
}

std::string underscored(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

struct Resolved {
  const OptionSlot* slot = nullptr;
  bool negated = false;
};

// "--no_x" stands for "--x false" where x is a truth value that is true by default.
const OptionSlot* find_negated(const OptionTable& table, const std::string& name) {
  if (!name.starts_with("no_")) return nullptr;
  const OptionSlot* const slot = table.find(name.substr(3));
  return slot != nullptr && slot->kind == OptionKind::kBool && slot->default_value == Json(true) ? slot : nullptr;
}

Resolved resolve(const OptionTable& table, const std::string& name) {
  if (const OptionSlot* const slot = table.find(name)) return {slot};
  if (const OptionSlot* const slot = find_negated(table, name)) return {slot, true};
  std::set<const OptionSlot*> matches;
  std::vector<std::string> names;
  const auto all = table.all_names();
  for (const auto& candidate : all) {
    if (!candidate.starts_with(name)) continue;
    names.push_back("--" + candidate);
    matches.insert(table.find(candidate));
  }
  if (matches.size() == 1) return {*matches.begin()};
  if (matches.size() > 1)
    throw UsageError("--{} is ambiguous; it could be {}; write it in full", name, fmt::join(names, ", "));
  const std::string near = nearest_name(name, all);
  throw UsageError("unknown option --{}{}; --help lists the options", name,
                   near.empty() ? "" : fmt::format("; did you mean --{}?", near));
}

[[noreturn]] void refuse_blank_argument() {
  throw UsageError(
      "expected an option; found an argument of blanks (a line ends in '\\' and a blank, so the shell cut the command "
      "there); remove the blank after the '\\'");
}

void apply(OptionTable& table, const std::string& name, const std::string& text) {
  OptionSlot& slot = *table.find(name);
  slot.set(text);
  slot.given = true;
  if (slot.get() == slot.default_value) return;
  if (slot.info.support == Support::kNotBuilt)
    throw UsageError("--{} is known but not built yet; leave it out{}", slot.info.name,
                     slot.default_value.is_null() ? "" : fmt::format(" or at {}", slot.default_value.dump()));
  if (slot.info.support == Support::kNoEffect) log::info("--{} has no effect here: {}", slot.info.name, slot.info.help);
}

std::string recipe_text(const std::string& origin, const std::string& key, const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean() || value.is_number()) return value.dump();
  if (value.is_array()) {
    std::vector<std::string> parts;
    for (const auto& item : value) parts.push_back(recipe_text(origin, key, item));
    return fmt::format("{}", fmt::join(parts, ","));
  }
  throw UsageError("{}: '{}' must be a string, a number, true or false; found {}", origin, key, value.dump());
}

void apply_recipe(OptionTable& table, const std::string& path) {
  const Json recipe = read_json_file(path);
  if (!recipe.is_object())
    throw UsageError("{}: expected a JSON object of options; found {}", path, recipe.type_name());
  for (const auto& [key, value] : recipe.items()) {
    if (value.is_null()) continue;
    const OptionSlot* const slot = table.find(key);
    if (slot == nullptr) {
      const std::string near = nearest_name(key, table.all_names());
      throw UsageError("{}: unknown option '{}'{}", path, key,
                       near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
    }
    apply(table, std::string(slot->info.name), recipe_text(path, key, value));
  }
}

cxxopts::Options cxxopts_for(const OptionTable& table, const std::string& usage, const std::string& summary) {
  cxxopts::Options options("baichuan", summary);
  options.custom_help(usage);
  options.set_width(100);
  for (const auto& slot : table.slots()) {
    auto value = cxxopts::value<std::string>();
    std::string help(slot.info.help);
    if (!slot.info.choices.empty()) help += fmt::format(" One of {}.", slot.info.choices);
    if (!slot.info.unit.empty()) help += fmt::format(" In {}.", slot.info.unit);
    if (slot.info.support == Support::kNotBuilt) help += " (not built yet)";
    if (!slot.default_value.is_null() && slot.default_value != Json("")) {
      const bool text = slot.default_value.is_string();
      help += fmt::format(" [{}]", text ? slot.default_value.get<std::string>() : slot.default_value.dump());
    }
    const char* const kinds[] = {"[true|false]", "N", "X", "TEXT"};
    options.add_options(slot.group)(std::string(slot.info.name), help, value, kinds[static_cast<int>(slot.kind)]);
  }
  return options;
}

}  // namespace

NormalizedLine normalize_command_line(const OptionTable& table, std::span<const std::string> arguments) {
  NormalizedLine line;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (is_blank(argument)) refuse_blank_argument();
    if (argument == "-h" || argument == "--help") {
      line.help = true;
      continue;
    }
    if (!argument.starts_with("--")) {
      if (looks_like_option(argument)) throw UsageError("unknown option {}; --help lists the options", argument);
      line.positional.push_back(argument);
      continue;
    }
    const auto equals = argument.find('=');
    const Resolved option = resolve(table, underscored(argument.substr(2, equals - 2)));
    const std::string name(option.slot->info.name);
    const std::string bare(option.slot->bare_value());
    const bool value_follows = i + 1 < arguments.size() && !looks_like_option(arguments[i + 1]);
    if (equals != std::string::npos) {
      line.values.emplace_back(name, argument.substr(equals + 1));
    } else if (option.negated) {
      line.values.emplace_back(name, "false");
    } else if (value_follows) {
      if (!bare.empty() && is_blank(arguments[i + 1])) refuse_blank_argument();
      line.values.emplace_back(name, arguments[++i]);
    } else if (!bare.empty()) {
      line.values.emplace_back(name, bare);
    } else {
      throw UsageError("--{} needs a value", name);
    }
  }
  return line;
}

bool parse_command_line(OptionTable& table, std::span<const std::string> arguments, bool allow_recipe) {
  const NormalizedLine line = normalize_command_line(table, arguments);
  if (line.help) return false;
  for (std::size_t i = 0; i < line.positional.size(); ++i) {
    if (!allow_recipe || i > 0 || !line.positional[i].ends_with(".json"))
      throw UsageError("unexpected argument '{}'; options start with --{}", line.positional[i],
                       allow_recipe ? " and a recipe is one .json file" : "");
    apply_recipe(table, line.positional[i]);
  }
  std::vector<std::string> words{"baichuan"};
  // Name and value apart: cxxopts takes no newline in "--name=value".
  for (const auto& [name, text] : line.values) words.insert(words.end(), {"--" + name, text});
  std::vector<const char*> argv;
  for (const auto& word : words) argv.push_back(word.c_str());
  auto options = cxxopts_for(table, "", "");
  const auto parsed = options.parse(static_cast<int>(argv.size()), argv.data());
  std::map<std::string, std::string> last;  // the last one wins, as in argparse
  for (const auto& pair : parsed.arguments()) last[pair.key()] = pair.value();
  for (const auto& [name, text] : last) apply(table, name, text);
  return true;
}

std::string help_text(const OptionTable& table, const std::string& usage, const std::string& summary) {
  auto options = cxxopts_for(table, usage, summary);
  std::vector<std::string> groups;
  for (const auto& slot : table.slots())
    if (std::find(groups.begin(), groups.end(), slot.group) == groups.end()) groups.push_back(slot.group);
  return options.help(groups);
}

std::string options_markdown(const OptionTable& table) {
  std::string text;
  std::string group;
  for (const auto& slot : table.slots()) {
    if (slot.group != group) {
      group = slot.group;
      text += fmt::format("\n### {}\n\n| option | default | meaning |\n|---|---|---|\n", group);
    }
    const Json& value = slot.default_value;
    std::string shown = value.is_null() ? "" : value.is_string() ? value.get<std::string>() : value.dump();
    if (!shown.empty()) shown = "`" + shown + "`";
    std::string help(slot.info.help);
    std::string choices(slot.info.choices);
    std::replace(choices.begin(), choices.end(), '|', ' ');
    if (!choices.empty()) help += fmt::format(" One of: {}.", choices);
    if (!slot.info.unit.empty()) help += fmt::format(" Unit: {}.", slot.info.unit);
    if (!slot.info.aliases.empty()) help += fmt::format(" Also: `{}`.", fmt::join(slot.alias_list(), "`, `"));
    if (slot.info.support == Support::kNotBuilt) help += " *Not built yet.*";
    if (slot.info.support == Support::kNoEffect) help += " *Accepted, no effect.*";
    text += fmt::format("| `--{}` | {} | {} |\n", slot.info.name, shown, help);
  }
  return text;
}

}  // namespace baichuan
