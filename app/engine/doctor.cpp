// baichuan doctor: versions, devices, memory, disk, what was built in, and what is wrong.
#include <cstdio>

#include <dlfcn.h>

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include "app/doctor_options.h"
#include "app/engine/machine_facts.h"
#include "build_facts.h"
#include "core/error.h"
#include "core/log.h"

namespace baichuan {
namespace {

std::filesystem::path folder_of(const void* address) {
  Dl_info info{};
  if (::dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  return std::filesystem::weakly_canonical(info.dli_fname).parent_path();
}

// The CUDA that LibTorch was built with: its libtorch_cpu.so links the runtime, GPU or not.
std::string cuda_runtime_version() {
  using GetVersion = int (*)(int*);
  const auto get_version = reinterpret_cast<GetVersion>(::dlsym(RTLD_DEFAULT, "cudaRuntimeGetVersion"));
  int version = 0;
  if (get_version == nullptr || get_version(&version) != 0) return {};
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

BuildFacts read_build_facts(const MachineFacts& machine) {
  BuildFacts facts;
  facts.version = BAICHUAN_VERSION;
  facts.build_type = kBuildType;
  facts.compiler = kBuildCompiler;
  facts.libtorch_version = TORCH_VERSION;
  const auto libtorch = folder_of(reinterpret_cast<const void*>(&at::get_num_threads));
  const auto engine = folder_of(reinterpret_cast<const void*>(&find_problems));
  facts.libtorch_folder = libtorch.string();
  facts.libtorch_cuda = std::filesystem::exists(libtorch / "libtorch_cuda.so");
  facts.cuda_kernels = std::filesystem::exists(engine / "libbaichuan_cuda.so");
  facts.cuda_version = cuda_runtime_version();
  if (facts.cuda_kernels) facts.cuda_architectures = kBuildCudaArchitectures;
  facts.nccl_version = nccl_version_beside(libtorch);
  if (!machine.cuda.devices.empty() && cuda_problem(machine.cuda).empty()) {
    try {
      load_cuda();
    } catch (const Error& error) {
      facts.cuda_failure = error.what();
    }
  }
  return facts;
}

}  // namespace

int run_doctor(const DoctorCommandOptions& options, const OptionTable& table) {
  (void)table;
  log::set_level(log::parse_level(options.run.log_level));
  MachineFacts machine = read_machine_facts();
  machine.simd = at::get_cpu_capability();
  machine.threads = at::get_num_threads();
  const BuildFacts build = read_build_facts(machine);
  const auto problems = find_problems(machine, build);
  if (options.doctor.json)
    fmt::print("{}\n", doctor_json(machine, build, problems).dump(2));
  else
    fmt::print("{}", doctor_text(machine, build, problems));
  for (const auto& problem : problems)
    if (problem.stops) return 1;
  return 0;
}

}  // namespace baichuan
