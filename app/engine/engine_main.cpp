// The engine's entry point: the same parsing as the program's, then the command that needs tensors.
#include <array>
#include <cstdlib>
#include <cstring>

#include <c10/util/Logging.h>
#include <torch/torch.h>

#include "app/bench_options.h"
#include "app/chat_options.h"
#include "app/command.h"
#include "app/command_line.h"
#include "app/doctor_options.h"
#include "app/engine_library.h"
#include "app/export_options.h"
#include "app/init_options.h"
#include "app/report_error.h"
#include "app/score_options.h"
#include "app/train_options.h"
#include "core/error.h"

namespace baichuan {
namespace {

constexpr auto kRunners = std::to_array<CommandRunner>({
    {"train", run_command<TrainCommandOptions, run_train>},
    {"export", run_command<ExportCommandOptions, run_export>},
    {"chat", run_command<ChatCommandOptions, run_chat>},
    {"score", run_command<ScoreCommandOptions, run_score>},
    {"init", run_command<InitCommandOptions, run_init>},
    {"doctor", run_command<DoctorCommandOptions, run_doctor>},
    {"bench train", run_command<BenchTrainCommandOptions, run_bench_train>},
    {"bench decode", run_command<BenchDecodeCommandOptions, run_bench_decode>},
});

int run(const std::vector<std::string>& words) {
  const Command* const command = find_command(words.front());
  for (const auto& runner : kRunners) {
    if (runner.name != words.front()) continue;
    const auto options = command->make_options();
    OptionTable table;
    options->add_to(table);
    parse_command_line(table, std::span(words).subspan(1), command->takes_recipe);
    options->validate(table);
    return runner.run(*options, table);
  }
  throw UsageError("the engine has no command '{}'", words.front());
}

// For BAICHUAN_TRACE=1; empty otherwise.
std::string trace_of(const c10::Error& error) {
  const char* const value = std::getenv("BAICHUAN_TRACE");
  return value != nullptr && std::strcmp(value, "1") == 0 ? error.what() : "";
}

}  // namespace
}  // namespace baichuan

extern "C" __attribute__((visibility("default"))) int baichuan_engine_main(int argc, const char* const* argv) {
  // c10d warns with whole backtraces of connections that end; our own errors say it in a line.
  ::setenv("TORCH_CPP_LOG_LEVEL", "ERROR", /*overwrite=*/0);
  c10::initLogging();
  try {
    return baichuan::run({argv, argv + argc});
  } catch (const c10::OutOfMemoryError& error) {
    return baichuan::report_error(
        baichuan::MachineError("out of device memory: {}; use a smaller batch, --recompute_layers all or a 16-bit type",
                               error.what_without_backtrace()),
        baichuan::trace_of(error));
  } catch (const c10::Error& error) {
    return baichuan::report_error(std::runtime_error(error.what_without_backtrace()), baichuan::trace_of(error));
  } catch (const std::bad_alloc&) {
    return baichuan::report_error(baichuan::MachineError(
        "out of memory; use a smaller batch, --recompute_layers all or a 16-bit type (--bf16, --dtype bf16)"));
  } catch (const std::exception& error) {
    return baichuan::report_error(error);
  }
}
