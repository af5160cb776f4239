// From argv to an option table. The rules are those of Python's argparse, which the command lines of 2023 were
// written for: unambiguous abbreviations, `--flag`, `--flag true`, `--flag=false`, `--no_flag`, `--x -1`, the last
// one wins, dashes read as underscores. The normalised line is then given to cxxopts.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/options.h"

namespace baichuan {

struct NormalizedLine {
  std::vector<std::pair<std::string, std::string>> values;  // canonical name, text; in the order given
  std::vector<std::string> positional;
  bool help = false;
};

// Throws UsageError: unknown flag (with the nearest), ambiguous abbreviation, missing value, an argument of blanks.
NormalizedLine normalize_command_line(const OptionTable& table, std::span<const std::string> arguments);

// Sets the table's values: a recipe (`run.json`, the one positional argument allowed) first, then the flags.
// Returns false when --help was asked for. Throws UsageError for what normalize_command_line refuses, wrong values,
// and options that are known but not built.
bool parse_command_line(OptionTable& table, std::span<const std::string> arguments, bool allow_recipe);

// The text of `baichuan COMMAND --help`.
std::string help_text(const OptionTable& table, const std::string& usage, const std::string& summary);

// Sections of docs/OPTIONS.md: one table a group.
std::string options_markdown(const OptionTable& table);

}  // namespace baichuan
