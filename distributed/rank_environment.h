// Who this process is among the ranks of a run, as the launcher that started it says in the environment: our own
// (--num_gpus, --num_processes), torchrun (and whatever else sets RANK and WORLD_SIZE, such as DeepSpeed's), mpirun or
// srun.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace baichuan {

enum class Launcher { kNone, kOurs, kTorchrun, kMpirun, kSrun };

// "torchrun", "mpirun", ... as messages name it.
std::string_view launcher_name(Launcher launcher);

struct RankEnvironment {
  Launcher launcher = Launcher::kNone;
  std::int64_t rank = 0;
  std::int64_t world_size = 1;
  std::int64_t local_rank = 0;  // among the ranks of this machine: the number of its GPU
  std::int64_t local_world_size = 1;

  // Where the ranks meet. Rank 0 listens there, unless an agent of the launcher does already: then every rank, rank 0
  // too, is a client.
  std::string store_host = "127.0.0.1";
  int store_port = 0;
  bool agent_hosts_store = false;
  int store_fd = -1;  // rank 0 of our own launcher: the listening socket it has inherited

  // The same on every rank, and not the same for two runs that meet at one store; empty where the launcher gives none.
  std::string run_id;
  std::int64_t restart_count = 0;  // how often the launcher has started the ranks again

  bool distributed() const { return world_size > 1; }
  bool hosts_store() const { return rank == 0 && !agent_hosts_store; }
};

// Null for a variable that is not set, as std::getenv.
using EnvironmentReader = std::function<const char*(const char* name)>;
const char* process_environment(const char* name);

// `local_rank_flag`: of an appended --local_rank=N; below 0 it says nothing.
// Throws MachineError when variables are missing, no numbers or contradict one another, and UsageError when the flag
// contradicts them or no address of the store can be found.
RankEnvironment read_rank_environment(std::int64_t local_rank_flag = -1,
                                      const EnvironmentReader& environment = process_environment);

// The first host of SLURM's list: "node[01-03,7],gpu2" gives "node01".
std::string first_slurm_host(std::string_view list);

}  // namespace baichuan
