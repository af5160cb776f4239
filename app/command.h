// A subcommand: its options (no LibTorch, so that --help and wrong flags answer at once) and the function that runs
// it, in the program itself or in the engine library that the program loads.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/options.h"

namespace baichuan {

// The options of one subcommand. Implementations hold option structs as members and add them to the table.
class CommandOptions {
 public:
  virtual ~CommandOptions() = default;
  virtual void add_to(OptionTable& table) = 0;
  // Rules over several options; throws UsageError. `table` tells what was given explicitly.
  virtual void validate(const OptionTable& table) { (void)table; }
};

struct Command {
  std::string_view name;
  std::string_view summary;
  std::string_view usage;  // the words after "baichuan", e.g. "chat --model_name_or_path DIR [options]"
  bool in_engine;
  bool takes_recipe;  // `baichuan train run.json`
  std::unique_ptr<CommandOptions> (*make_options)();
};

// Every subcommand in the order of --help.
std::span<const Command> commands();
const Command* find_command(std::string_view name);
// Whether a subcommand of the interface is still to be built.
bool is_planned_command(std::string_view name);

// What runs a command, in the program (program_commands.cpp) or in the engine (engine/engine_main.cpp).
struct CommandRunner {
  std::string_view name;
  int (*run)(const CommandOptions& options, const OptionTable& table);  // returns the exit status
};

// Wraps `int run_x(const XCommandOptions&, const OptionTable&)` for a table of runners.
template <class Options, int (*kRun)(const Options&, const OptionTable&)>
int run_command(const CommandOptions& options, const OptionTable& table) {
  return kRun(dynamic_cast<const Options&>(options), table);
}

}  // namespace baichuan
