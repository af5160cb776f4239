#include "app/program_commands.h"

#include <array>
#include <stdexcept>

#include "app/plan_options.h"
#include "app/preview_options.h"
#include "app/tokenize_options.h"

namespace baichuan {

int run_in_program(std::string_view name, const CommandOptions& options, const OptionTable& table) {
  static constexpr auto kRunners = std::to_array<CommandRunner>({
      {"tokenize", run_command<TokenizeCommandOptions, run_tokenize>},
      {"plan", run_command<PlanCommandOptions, run_plan>},
      {"preview", run_command<PreviewCommandOptions, run_preview>},
  });
  for (const auto& runner : kRunners)
    if (runner.name == name) return runner.run(options, table);
  throw std::logic_error("no runner for " + std::string(name));
}

}  // namespace baichuan
