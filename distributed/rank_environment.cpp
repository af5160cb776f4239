#include "distributed/rank_environment.h"

#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "core/error.h"

namespace baichuan {

namespace {

// PyTorch's usual port, for a launcher that says nothing two runs could be told apart by.
constexpr int kUsualPort = 29500;
// Derived ports stay clear of the services below and of the ports above that Linux gives out by itself.
constexpr int kFirstDerivedPort = 15000;
constexpr int kDerivedPorts = 15000;
// SLURM numbers the steps that are not srun's (batch script, interactive shell) from the top of 32 bits.
constexpr std::int64_t kFirstSpecialSlurmStep = 0xfffffff0;

int derived_port(std::string_view job) {
  std::uint32_t hash = 2166136261U;  // FNV-1a: the same on every rank, whatever its standard library
  for (const unsigned char c : job) hash = (hash ^ c) * 16777619U;
  return kFirstDerivedPort + static_cast<int>(hash % kDerivedPorts);
}

// The variables of one launcher.
class Variables {
 public:
  Variables(const EnvironmentReader& environment, Launcher launcher) : environment_(environment), launcher_(launcher) {}

  // Empty when it is not set, or set to nothing.
  std::string text(const char* name) const {
    const char* const value = environment_(name);
    return value == nullptr ? std::string() : std::string(value);
  }

  std::string required_text(const char* name) const {
    std::string value = text(name);
    if (value.empty()) throw_missing(name);
    return value;
  }

  std::optional<std::int64_t> number(const char* name) const {
    const std::string value = text(name);
    if (value.empty()) return {};
    std::int64_t result = 0;
    const char* const end = value.data() + value.size();
    const auto [stop, failure] = std::from_chars(value.data(), end, result);
    if (failure != std::errc() || stop != end || result < 0)
      throw MachineError("the environment of {} must hold a whole number from 0 in {}; found '{}'; {}",
                         launcher_name(launcher_), name, value, advice());
    return result;
  }

  std::int64_t required_number(const char* name) const {
    const auto value = number(name);
    if (!value) throw_missing(name);
    return *value;
  }

  int port(const char* name) const {
    const std::int64_t value = required_number(name);
    if (value < 1 || value > 65535)
      throw MachineError("{} must be a port from 1 to 65535; found {}; {}", name, value, advice());
    return static_cast<int>(value);
  }

  [[noreturn]] void throw_missing(const char* name) const {
    throw MachineError("the environment of {} must hold {}; it is not set; {}", launcher_name(launcher_), name,
                       advice());
  }

  const char* advice() const {
    if (launcher_ == Launcher::kTorchrun) return "start through torchrun --no-python, or unset RANK and WORLD_SIZE";
    return "set it, or start the ranks with --num_gpus or torchrun --no-python";
  }

 private:
  const EnvironmentReader& environment_;
  Launcher launcher_;
};

// MPICH's and Intel's process managers count the ranks of a machine themselves. srun --mpi=pmi2 sets PMI_RANK too, but
// not these, and its own variables say more.
bool is_pmi(const Variables& v) {
  if (v.text("PMI_RANK").empty()) return false;
  return !v.text("MPI_LOCALRANKID").empty() || v.text("SLURM_PROCID").empty();
}

// A batch script sees SLURM_PROCID=0 and the job's SLURM_NTASKS, but is no task of a step; an interactive shell is one
// task of its own.
bool is_slurm_step(const Variables& v) {
  if (v.text("SLURM_PROCID").empty() || v.text("SLURM_STEP_NODELIST").empty()) return false;
  if (v.number("SLURM_STEP_ID").value_or(0) >= kFirstSpecialSlurmStep) return false;
  return v.number("SLURM_STEP_NUM_TASKS").value_or(v.number("SLURM_NTASKS").value_or(1)) > 1;
}

Launcher find_launcher(const EnvironmentReader& environment) {
  const Variables v(environment, Launcher::kSrun);
  if (!v.text("BAICHUAN_RUN_ID").empty()) return Launcher::kOurs;
  // torchrun may itself run under srun or mpirun: what is nearest to this process counts.
  if (!v.text("RANK").empty()) return Launcher::kTorchrun;
  if (!v.text("OMPI_COMM_WORLD_RANK").empty() || is_pmi(v)) return Launcher::kMpirun;
  return is_slurm_step(v) ? Launcher::kSrun : Launcher::kNone;
}

void read_ours(const Variables& v, RankEnvironment& e) {
  e.rank = v.required_number("RANK");
  e.world_size = v.required_number("WORLD_SIZE");
  e.local_rank = v.required_number("LOCAL_RANK");
  e.local_world_size = v.required_number("LOCAL_WORLD_SIZE");
  e.store_host = v.required_text("MASTER_ADDR");
  e.store_port = v.port("MASTER_PORT");
  if (e.rank == 0) e.store_fd = static_cast<int>(v.required_number("BAICHUAN_STORE_FD"));
  e.run_id = v.required_text("BAICHUAN_RUN_ID");
  e.restart_count = v.number("BAICHUAN_RESTART_COUNT").value_or(0);
}

void read_torchrun(const Variables& v, std::int64_t local_rank_flag, RankEnvironment& e) {
  e.rank = v.required_number("RANK");
  e.world_size = v.required_number("WORLD_SIZE");
  const auto local_rank = v.number("LOCAL_RANK");
  if (!local_rank && local_rank_flag < 0) v.throw_missing("LOCAL_RANK");
  e.local_rank = local_rank.value_or(local_rank_flag);
  // DeepSpeed's launcher calls it LOCAL_SIZE.
  const auto local_size = v.number("LOCAL_SIZE");
  e.local_world_size =
      local_size && !v.number("LOCAL_WORLD_SIZE") ? *local_size : v.required_number("LOCAL_WORLD_SIZE");
  e.store_host = v.required_text("MASTER_ADDR");
  e.store_port = v.port("MASTER_PORT");
  e.agent_hosts_store = v.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  e.run_id = v.text("TORCHELASTIC_RUN_ID");
  e.restart_count = v.number("TORCHELASTIC_RESTART_COUNT").value_or(0);
}

void read_mpirun(const Variables& v, RankEnvironment& e) {
  const bool open_mpi = !v.text("OMPI_COMM_WORLD_RANK").empty();
  e.rank = v.required_number(open_mpi ? "OMPI_COMM_WORLD_RANK" : "PMI_RANK");
  e.world_size = v.required_number(open_mpi ? "OMPI_COMM_WORLD_SIZE" : "PMI_SIZE");
  e.local_rank = v.required_number(open_mpi ? "OMPI_COMM_WORLD_LOCAL_RANK" : "MPI_LOCALRANKID");
  e.local_world_size = v.required_number(open_mpi ? "OMPI_COMM_WORLD_LOCAL_SIZE" : "MPI_LOCALNRANKS");
  for (const char* name : {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "PMI_JOBID", "PMI_PORT"})
    if (e.run_id.empty()) e.run_id = v.text(name);
  const std::string host = v.text("MASTER_ADDR");
  if (host.empty() && e.local_world_size < e.world_size)
    throw UsageError(
        "mpirun over several machines must say where rank 0 is; MASTER_ADDR is not set; give its host and a free port "
        "as -x MASTER_ADDR=HOST -x MASTER_PORT=PORT (Open MPI) or -genv MASTER_ADDR HOST -genv MASTER_PORT PORT "
        "(MPICH, Intel)");
  if (!host.empty()) e.store_host = host;
  if (v.number("MASTER_PORT"))
    e.store_port = v.port("MASTER_PORT");
  else
    e.store_port = e.run_id.empty() ? kUsualPort : derived_port(e.run_id);
}

// SLURM_STEP_TASKS_PER_NODE: "4(x2),3" stands for 4, 4, 3.
std::optional<std::int64_t> tasks_of_node(std::string_view list, std::int64_t node) {
  while (!list.empty()) {
    std::int64_t tasks = 0;
    std::int64_t repeats = 1;
    const char* const end = list.data() + list.size();
    auto [at, failure] = std::from_chars(list.data(), end, tasks);
    if (failure != std::errc()) return {};
    if (std::string_view(at, end).starts_with("(x")) {
      const auto repeated = std::from_chars(at + 2, end, repeats);
      if (repeated.ec != std::errc() || repeated.ptr == end || *repeated.ptr != ')') return {};
      at = repeated.ptr + 1;
    }
    if (node < repeats) return tasks;
    node -= repeats;
    if (at == end || *at != ',') return {};
    list = std::string_view(at + 1, end);
  }
  return {};
}

std::int64_t slurm_local_size(const Variables& v) {
  const auto step = tasks_of_node(v.text("SLURM_STEP_TASKS_PER_NODE"), v.number("SLURM_NODEID").value_or(0));
  return step ? *step : v.required_number("SLURM_NTASKS_PER_NODE");
}

void read_srun(const Variables& v, RankEnvironment& e) {
  e.rank = v.required_number("SLURM_PROCID");
  const auto tasks = v.number("SLURM_STEP_NUM_TASKS");
  e.world_size = tasks ? *tasks : v.required_number("SLURM_NTASKS");
  e.local_rank = v.required_number("SLURM_LOCALID");
  e.local_world_size = slurm_local_size(v);
  e.run_id = fmt::format("{}.{}", v.required_number("SLURM_JOB_ID"), v.number("SLURM_STEP_ID").value_or(0));
  e.restart_count = v.number("SLURM_RESTART_COUNT").value_or(0);
  const std::string host = v.text("MASTER_ADDR");
  e.store_host = host.empty() ? first_slurm_host(v.required_text("SLURM_STEP_NODELIST")) : host;
  e.store_port = v.number("MASTER_PORT") ? v.port("MASTER_PORT") : derived_port(e.run_id);
}

void require_consistent(const RankEnvironment& e) {
  const auto name = launcher_name(e.launcher);
  if (e.world_size < 1 || e.rank >= e.world_size)
    throw MachineError("a rank must be below the number of ranks; {} says rank {} of {}; start all ranks again", name,
                       e.rank, e.world_size);
  if (e.local_world_size < 1 || e.local_rank >= e.local_world_size)
    throw MachineError(
        "a local rank must be below the number of this machine's ranks; {} says {} of {}; start all "
        "ranks again",
        name, e.local_rank, e.local_world_size);
  if (e.local_world_size > e.world_size)
    throw MachineError(
        "a machine's ranks must be part of all ranks; {} says {} ranks here and {} in all; start all "
        "ranks again",
        name, e.local_world_size, e.world_size);
}

}  // namespace

std::string_view launcher_name(Launcher launcher) {
  static constexpr std::array<std::string_view, 5> kNames = {"no launcher", "our own launcher", "torchrun", "mpirun",
                                                             "srun"};
  return kNames[static_cast<std::size_t>(launcher)];
}

const char* process_environment(const char* name) {
  return std::getenv(name);
}

RankEnvironment read_rank_environment(std::int64_t local_rank_flag, const EnvironmentReader& environment) {
  RankEnvironment e;
  e.launcher = find_launcher(environment);
  const Variables v(environment, e.launcher);
  if (e.launcher == Launcher::kOurs) read_ours(v, e);
  if (e.launcher == Launcher::kTorchrun) read_torchrun(v, local_rank_flag, e);
  if (e.launcher == Launcher::kMpirun) read_mpirun(v, e);
  if (e.launcher == Launcher::kSrun) read_srun(v, e);
  require_consistent(e);
  if (e.launcher == Launcher::kNone && local_rank_flag > 0)
    throw UsageError(
        "--local_rank {} needs a launcher that sets RANK and WORLD_SIZE; found neither; use --num_gpus to "
        "start the ranks of this machine",
        local_rank_flag);
  if (local_rank_flag >= 0 && local_rank_flag != e.local_rank)
    throw UsageError("--local_rank {} must agree with the environment; {} says local rank {}; leave the flag out",
                     local_rank_flag, launcher_name(e.launcher), e.local_rank);
  return e;
}

std::string first_slurm_host(std::string_view list) {
  std::string host;
  bool in_brackets = false;
  bool taken = false;  // of the numbers in brackets only the first counts
  for (const char c : list) {
    if (in_brackets) {
      if (c == ']') in_brackets = false;
      taken |= c == '-' || c == ',';
      if (in_brackets && !taken) host += c;
    } else if (c == '[') {
      in_brackets = true;
      taken = false;
    } else if (c == ',') {
      break;
    } else {
      host += c;
    }
  }
  return host;
}

}  // namespace baichuan
