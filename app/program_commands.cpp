#include "app/program_commands.h"

#include <array>
#include <stdexcept>

#if __has_include("app/tokenize_options.h")
#include "app/tokenize_options.h"
#endif
#if __has_include("app/preview_options.h")
#include "app/preview_options.h"
#endif

namespace baichuan {

int run_in_program(std::string_view name, const CommandOptions& options, const OptionTable& table) {
  static constexpr auto kRunners = std::to_array<CommandRunner>({
#if __has_include("app/tokenize_options.h")
    {"tokenize", run_command<TokenizeCommandOptions, run_tokenize>},
#endif
#if __has_include("app/preview_options.h")
        {"preview", run_command<PreviewCommandOptions, run_preview>},
#endif
        {"", nullptr},
  });
  for (const auto& runner : kRunners)
    if (runner.name == name && runner.run != nullptr) return runner.run(options, table);
  throw std::logic_error("no runner for " + std::string(name));
}

}  // namespace baichuan
