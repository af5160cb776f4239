#include "distributed/rank_environment.h"

#include <map>
#include <set>

#include <gtest/gtest.h>

#include "core/error.h"

namespace baichuan {
namespace {

using Environment = std::map<std::string, std::string>;

RankEnvironment read(const Environment& environment, std::int64_t flag = -1) {
  return read_rank_environment(flag, [&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

template <class E>
std::string message_of(const Environment& environment, std::int64_t flag = -1) {
  try {
    read(environment, flag);
  } catch (const E& error) {
    return error.what();
  }
  return "no such error";
}

Environment with(Environment environment, const Environment& changes) {
  for (const auto& [name, value] : changes) environment[name] = value;
  return environment;
}

Environment without(Environment environment, const std::string& name) {
  environment.erase(name);
  return environment;
}

const Environment kOursEnvironment = {{"RANK", "0"},
                                      {"WORLD_SIZE", "2"},
                                      {"LOCAL_RANK", "0"},
                                      {"LOCAL_WORLD_SIZE", "2"},
                                      {"MASTER_ADDR", "127.0.0.1"},
                                      {"MASTER_PORT", "41234"},
                                      {"BAICHUAN_RUN_ID", "6f0d"},
                                      {"BAICHUAN_RESTART_COUNT", "1"},
                                      {"BAICHUAN_STORE_FD", "5"}};
// As torchrun 2.11 sets it for rank 5 of two nodes with 4 ranks each.
const Environment kTorchrunEnvironment = {{"LOCAL_RANK", "1"},
                                          {"RANK", "5"},
                                          {"GROUP_RANK", "1"},
                                          {"ROLE_RANK", "5"},
                                          {"ROLE_NAME", "default"},
                                          {"LOCAL_WORLD_SIZE", "4"},
                                          {"WORLD_SIZE", "8"},
                                          {"GROUP_WORLD_SIZE", "2"},
                                          {"ROLE_WORLD_SIZE", "8"},
                                          {"MASTER_ADDR", "gpu-a"},
                                          {"MASTER_PORT", "29400"},
                                          {"TORCHELASTIC_RESTART_COUNT", "2"},
                                          {"TORCHELASTIC_MAX_RESTARTS", "3"},
                                          {"TORCHELASTIC_RUN_ID", "nightly"},
                                          {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
const Environment kOpenMpiEnvironment = {{"OMPI_COMM_WORLD_RANK", "3"},
                                         {"OMPI_COMM_WORLD_SIZE", "4"},
                                         {"OMPI_COMM_WORLD_LOCAL_RANK", "3"},
                                         {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                                         {"PMIX_NAMESPACE", "prterun-gpu-a-815@1"}};
const Environment kMpichEnvironment = {
    {"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}, {"PMI_FD", "9"}};
const Environment kSrunEnvironment = {{"SLURM_PROCID", "4"},
                                      {"SLURM_NTASKS", "7"},
                                      {"SLURM_STEP_NUM_TASKS", "7"},
                                      {"SLURM_LOCALID", "0"},
                                      {"SLURM_NODEID", "1"},
                                      {"SLURM_STEP_TASKS_PER_NODE", "4,3"},
                                      {"SLURM_STEP_NODELIST", "gpu[03-04]"},
                                      {"SLURM_JOB_ID", "4711"},
                                      {"SLURM_STEP_ID", "0"}};

struct Expected {
  const char* name;
  Environment environment;
  RankEnvironment result;
};

std::vector<Expected> expected_environments() {
  using enum Launcher;
  const Environment deepspeed = {{"RANK", "1"},       {"WORLD_SIZE", "2"},          {"LOCAL_RANK", "1"},
                                 {"LOCAL_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "29500"}};
  return {
      {"nothing", {}, {.launcher = kNone}},
      {"ours", kOursEnvironment, {kOurs, 0, 2, 0, 2, "127.0.0.1", 41234, false, 5, "6f0d", 1}},
      {"ours, not the first rank",
       without(with(kOursEnvironment, {{"RANK", "1"}, {"LOCAL_RANK", "1"}}), "BAICHUAN_STORE_FD"),
       {kOurs, 1, 2, 1, 2, "127.0.0.1", 41234, false, -1, "6f0d", 1}},
      {"torchrun with the agent's store",
       kTorchrunEnvironment,
       {kTorchrun, 5, 8, 1, 4, "gpu-a", 29400, true, -1, "nightly", 2}},
      {"torchrun without it",
       with(kTorchrunEnvironment, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}}),
       {kTorchrun, 5, 8, 1, 4, "gpu-a", 29400, false, -1, "nightly", 2}},
      {"DeepSpeed's launcher", deepspeed, {kTorchrun, 1, 2, 1, 2, "127.0.0.1", 29500, false, -1, "", 0}},
      {"Open MPI with an address",
       with(kOpenMpiEnvironment, {{"OMPI_COMM_WORLD_SIZE", "8"}, {"MASTER_ADDR", "gpu-a"}, {"MASTER_PORT", "29401"}}),
       {kMpirun, 3, 8, 3, 4, "gpu-a", 29401, false, -1, "prterun-gpu-a-815@1", 0}},
      {"MPICH on one machine", kMpichEnvironment, {kMpirun, 1, 2, 1, 2, "127.0.0.1", 29500, false, -1, "", 0}},
      {"srun", kSrunEnvironment, {kSrun, 4, 7, 0, 3, "gpu03", 0, false, -1, "4711.0", 0}},
      {"srun of a requeued job, with an address",
       with(kSrunEnvironment, {{"SLURM_RESTART_COUNT", "1"}, {"MASTER_ADDR", "10.0.0.3"}, {"MASTER_PORT", "29402"}}),
       {kSrun, 4, 7, 0, 3, "10.0.0.3", 29402, false, -1, "4711.0", 1}},
      {"torchrun under srun",
       with(kSrunEnvironment, kTorchrunEnvironment),
       {kTorchrun, 5, 8, 1, 4, "gpu-a", 29400, true, -1, "nightly", 2}},
      {"MPICH's mpirun under SLURM, which starts one task a node",
       with(kSrunEnvironment, kMpichEnvironment),
       {kMpirun, 1, 2, 1, 2, "127.0.0.1", 29500, false, -1, "", 0}},
      {"srun --mpi=pmi2",
       with(kSrunEnvironment, {{"PMI_RANK", "4"}, {"PMI_SIZE", "7"}}),
       {kSrun, 4, 7, 0, 3, "gpu03", 0, false, -1, "4711.0", 0}},
      {"a SLURM batch script", without(kSrunEnvironment, "SLURM_STEP_NODELIST"), {.launcher = kNone}},
      {"a SLURM batch script that numbers itself",
       with(kSrunEnvironment, {{"SLURM_STEP_ID", "4294967291"}}),
       {.launcher = kNone}},
      {"srun with one task", with(kSrunEnvironment, {{"SLURM_STEP_NUM_TASKS", "1"}}), {.launcher = kNone}},
  };
}

TEST(RankEnvironment, IsWhatEachLauncherSays) {
  for (const auto& [name, environment, result] : expected_environments()) {
    SCOPED_TRACE(name);
    const RankEnvironment found = read(environment);
    EXPECT_EQ(found.launcher, result.launcher);
    EXPECT_EQ(found.rank, result.rank);
    EXPECT_EQ(found.world_size, result.world_size);
    EXPECT_EQ(found.local_rank, result.local_rank);
    EXPECT_EQ(found.local_world_size, result.local_world_size);
    EXPECT_EQ(found.store_host, result.store_host);
    EXPECT_EQ(found.agent_hosts_store, result.agent_hosts_store);
    EXPECT_EQ(found.store_fd, result.store_fd);
    EXPECT_EQ(found.run_id, result.run_id);
    EXPECT_EQ(found.restart_count, result.restart_count);
    // 0 in the table: derived from the job, of which the next test tells more.
    if (result.store_port != 0 || result.launcher == Launcher::kNone) {
      EXPECT_EQ(found.store_port, result.store_port);
    }
  }
}

TEST(RankEnvironment, RankZeroHostsTheStoreUnlessAnAgentDoes) {
  EXPECT_TRUE(read(kOursEnvironment).hosts_store());
  const auto first = with(kTorchrunEnvironment, {{"RANK", "0"}, {"LOCAL_RANK", "0"}});
  EXPECT_FALSE(read(first).hosts_store());
  EXPECT_TRUE(read(with(first, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}})).hosts_store());
  EXPECT_FALSE(read(kSrunEnvironment).hosts_store());
}

TEST(RankEnvironment, DerivesThePortFromTheJobAndTheStep) {
  std::set<int> ports;
  for (int job = 1000; job < 1100; ++job) {
    const auto environment = with(kSrunEnvironment, {{"SLURM_JOB_ID", std::to_string(job)}});
    const int port = read(environment).store_port;
    EXPECT_EQ(port, read(with(environment, {{"SLURM_PROCID", "0"}})).store_port) << "all ranks meet at one port";
    EXPECT_GE(port, 15000);
    EXPECT_LT(port, 30000);
    ports.insert(port);
  }
  EXPECT_GE(ports.size(), 95U);
  EXPECT_NE(read(kSrunEnvironment).store_port, read(with(kSrunEnvironment, {{"SLURM_STEP_ID", "1"}})).store_port);
  EXPECT_NE(read(kOpenMpiEnvironment).store_port,
            read(with(kOpenMpiEnvironment, {{"PMIX_NAMESPACE", "prterun-gpu-a-816@1"}})).store_port);
}

TEST(RankEnvironment, CountsTheTasksOfItsOwnNode) {
  const auto local_size = [](const char* list, const char* node) {
    return read(with(kSrunEnvironment, {{"SLURM_STEP_TASKS_PER_NODE", list}, {"SLURM_NODEID", node}})).local_world_size;
  };
  EXPECT_EQ(local_size("7", "0"), 7);
  EXPECT_EQ(local_size("2(x3),1", "2"), 2);
  EXPECT_EQ(local_size("2(x3),1", "3"), 1);
  const auto by_option = with(without(kSrunEnvironment, "SLURM_STEP_TASKS_PER_NODE"), {{"SLURM_NTASKS_PER_NODE", "4"}});
  EXPECT_EQ(read(by_option).local_world_size, 4);
  for (const char* broken : {"", "x", "2(x", "2(x3", "2;1"})
    EXPECT_EQ(message_of<MachineError>(with(kSrunEnvironment, {{"SLURM_STEP_TASKS_PER_NODE", broken}})),
              "the environment of srun must hold SLURM_NTASKS_PER_NODE; it is not set; set it, or start the ranks with "
              "--num_gpus or torchrun --no-python")
        << broken;
}

TEST(RankEnvironment, FindsTheFirstHostOfSlurmsList) {
  EXPECT_EQ(first_slurm_host("node7"), "node7");
  EXPECT_EQ(first_slurm_host("node[01-03,7],gpu2"), "node01");
  EXPECT_EQ(first_slurm_host("a1,b[2-3]"), "a1");
  EXPECT_EQ(first_slurm_host("rack[1-2]n[3,5]-ib"), "rack1n3-ib");
  EXPECT_EQ(first_slurm_host("n[9]"), "n9");
}

TEST(RankEnvironment, TakesAnAppendedLocalRank) {
  EXPECT_EQ(read(kTorchrunEnvironment, 1).local_rank, 1);
  EXPECT_EQ(read(without(kTorchrunEnvironment, "LOCAL_RANK"), 3).local_rank, 3);
  EXPECT_EQ(read({}, -1).launcher, Launcher::kNone);
  EXPECT_EQ(read({}, 0).launcher, Launcher::kNone);
  EXPECT_EQ(read(kTorchrunEnvironment, -1).local_rank, 1);
}

TEST(RankEnvironment, RefusesALocalRankThatContradicts) {
  EXPECT_EQ(message_of<UsageError>(kTorchrunEnvironment, 0),
            "--local_rank 0 must agree with the environment; torchrun says local rank 1; leave the flag out");
  EXPECT_EQ(message_of<UsageError>({}, 2),
            "--local_rank 2 needs a launcher that sets RANK and WORLD_SIZE; found neither; use --num_gpus to start the "
            "ranks of this machine");
}

TEST(RankEnvironment, NamesWhatIsNoNumber) {
  EXPECT_EQ(message_of<MachineError>(with(kTorchrunEnvironment, {{"RANK", "five"}})),
            "the environment of torchrun must hold a whole number from 0 in RANK; found 'five'; start through torchrun "
            "--no-python, or unset RANK and WORLD_SIZE");
  for (const char* number : {"-1", "1.5", "3 ", "99999999999999999999"})
    EXPECT_NE(message_of<MachineError>(with(kOpenMpiEnvironment, {{"OMPI_COMM_WORLD_LOCAL_RANK", number}}))
                  .find("OMPI_COMM_WORLD_LOCAL_RANK; found '" + std::string(number)),
              std::string::npos);
  EXPECT_EQ(message_of<MachineError>(with(kOursEnvironment, {{"MASTER_PORT", "70000"}})),
            "MASTER_PORT must be a port from 1 to 65535; found 70000; set it, or start the ranks with --num_gpus or "
            "torchrun --no-python");
}

TEST(RankEnvironment, NamesWhatIsMissing) {
  for (const char* name : {"WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"})
    EXPECT_EQ(message_of<MachineError>(without(kTorchrunEnvironment, name)),
              "the environment of torchrun must hold " + std::string(name) +
                  "; it is not set; start through torchrun --no-python, or unset RANK and WORLD_SIZE");
  for (const char* name :
       {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "BAICHUAN_STORE_FD"})
    EXPECT_NE(message_of<MachineError>(without(kOursEnvironment, name)).find(name), std::string::npos) << name;
  EXPECT_EQ(message_of<UsageError>(with(kOpenMpiEnvironment, {{"OMPI_COMM_WORLD_SIZE", "8"}})),
            "mpirun over several machines must say where rank 0 is; MASTER_ADDR is not set; give its host and a free "
            "port as -x MASTER_ADDR=HOST -x MASTER_PORT=PORT (Open MPI) or -genv MASTER_ADDR HOST -genv MASTER_PORT "
            "PORT (MPICH, Intel)");
}

TEST(RankEnvironment, RefusesNumbersThatContradictOneAnother) {
  EXPECT_EQ(message_of<MachineError>(with(kTorchrunEnvironment, {{"RANK", "8"}})),
            "a rank must be below the number of ranks; torchrun says rank 8 of 8; start all ranks again");
  EXPECT_EQ(message_of<MachineError>(with(kTorchrunEnvironment, {{"LOCAL_RANK", "4"}})),
            "a local rank must be below the number of this machine's ranks; torchrun says 4 of 4; start all ranks "
            "again");
  EXPECT_EQ(message_of<MachineError>(with(kTorchrunEnvironment, {{"LOCAL_WORLD_SIZE", "9"}})),
            "a machine's ranks must be part of all ranks; torchrun says 9 ranks here and 8 in all; start all ranks "
            "again");
}

}  // namespace
}  // namespace baichuan
