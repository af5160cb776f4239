#include "app/local_ranks.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include <sched.h>

#include "app/cuda_devices.h"
#include "app/rank_supervisor.h"
#include "core/error.h"
#include "core/file_events.h"
#include "core/log.h"
#include "distributed/rank_environment.h"
#include "train/checkpoint_store.h"
#include "train/start_or_resume.h"

namespace baichuan {

namespace {

namespace fs = std::filesystem;

void require_agreement(const RankEnvironment& environment, const OptionTable& table, const char* name) {
  const OptionSlot& slot = *table.find(name);
  const auto asked = slot.get().get<std::int64_t>();
  if (slot.given && asked != environment.local_world_size)
    throw UsageError(
        "--{} must be the number of ranks that {} has started on this machine; found {} and {}; leave it out", name,
        launcher_name(environment.launcher), asked, environment.local_world_size);
}

void require_gpus(std::int64_t wanted) {
  const std::int64_t found = count_cuda_devices();
  if (found < wanted)
    throw MachineError(
        "--num_gpus {} needs as many CUDA devices; found {}; give a smaller number, see `baichuan doctor`, or give "
        "--device cpu for ranks on this machine's CPUs",
        wanted, found);
}

// Of this process, which a container or taskset may have given fewer than the machine has.
std::int64_t usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  return ::sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
}

std::map<std::string, std::string> environment_of_all(std::int64_t ranks) {
  // Local runs keep to the loopback interface: what the libraries open by themselves, too.
  std::map<std::string, std::string> environment = {{"GLOO_SOCKET_IFNAME", "lo"}, {"NCCL_SOCKET_IFNAME", "lo"}};
  if (ranks > 1 && std::getenv("OMP_NUM_THREADS") == nullptr)
    environment["OMP_NUM_THREADS"] = std::to_string(std::max<std::int64_t>(usable_cores() / ranks, 1));
  return environment;
}

// Every rank is gone, so nobody is writing any more; opening the store removes what they have left half written.
void remove_leftovers(const fs::path& output_dir) {
  if (!fs::is_directory(output_dir)) return;
  try {
    const CheckpointStore clean(output_dir);
  } catch (const Error& error) {
    log::warning("{}", error.what());
  }
}

}  // namespace

std::optional<std::int64_t> local_ranks_to_start(const TrainCommandOptions& options, const OptionTable& table) {
  const auto& launcher = options.launcher;
  const RankEnvironment environment = read_rank_environment(launcher.local_rank);
  if (environment.launcher == Launcher::kOurs) return {};
  if (environment.launcher != Launcher::kNone) {
    for (const char* name : {"num_gpus", "num_processes"}) require_agreement(environment, table, name);
    if (launcher.max_restarts > 0)
      throw UsageError(
          "--max_restarts is for ranks that --num_gpus or --num_processes start; {} has started these; "
          "leave it out and let {} start them again",
          launcher_name(environment.launcher), launcher_name(environment.launcher));
    return {};
  }
  if (launcher.num_gpus > 1 && options.model.device != "cpu") require_gpus(launcher.num_gpus);
  const std::int64_t ranks = std::max(launcher.num_gpus, launcher.num_processes);
  // A single rank, too, needs somebody to start it again.
  return ranks > 1 || launcher.max_restarts > 0 ? std::optional(ranks) : std::nullopt;
}

int run_local_ranks(const TrainCommandOptions& options, std::int64_t ranks, const std::vector<std::string>& words) {
  log::set_level(log::parse_level(options.run.log_level));
  const auto& logging = options.logging;
  // Here already: a refused start is no failure to restart after.
  if (options.finetuning.do_train) require_startable(logging);
  const EarlierCheckpoints earlier(logging.output_dir);
  set_file_event_hook([](auto, const auto&) {});  // BAICHUAN_CRASH_AT is meant for the ranks
  SupervisedRun run;
  run.command.words = {fs::read_symlink("/proc/self/exe").string()};
  run.command.words.insert(run.command.words.end(), words.begin(), words.end());
  run.command.environment = environment_of_all(ranks);
  run.ranks = ranks;
  run.max_restarts = options.launcher.max_restarts;
  run.after_failure = [&] {
    remove_leftovers(logging.output_dir);
    const bool saved = options.finetuning.do_train && !list_checkpoints(logging.output_dir).empty();
    const bool nothing_begun = logging.overwrite_output_dir && earlier.any_left();
    return Aftermath{saved && !nothing_begun ? "go on with --resume_from_checkpoint latest"
                                             : "there is no checkpoint of it to go on from: start it again",
                     nothing_begun};
  };
  return supervise_ranks(run);
}

}  // namespace baichuan
