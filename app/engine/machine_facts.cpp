#include "app/engine/machine_facts.h"

#include <algorithm>
#include <charconv>
#include <fstream>

#include <dlfcn.h>
#include <sched.h>

#include "core/error.h"
#include "core/files.h"

namespace baichuan {
namespace {

constexpr std::int64_t kGigabyte = 1'000'000'000;
// Below these the smallest real use (a 7B model in int4, a LoRA checkpoint) is in danger.
constexpr std::int64_t kLittleMemory = 2 * kGigabyte;
constexpr std::int64_t kLittleDisk = 5 * kGigabyte;

// The text after `key` and its separator in the first line of a file that starts with it, without quotation marks.
std::string value_of(const std::string& file, std::string_view key, char separator) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    auto begin = line.find(separator);
    if (begin == std::string::npos) return {};
    begin = line.find_first_not_of(" \t\"", begin + 1);
    if (begin == std::string::npos) return {};
    const auto end = line.find_last_not_of(" \t\"");
    return line.substr(begin, end - begin + 1);
  }
  return {};
}

// A number at the head of `text`, e.g. "24049432 kB".
std::optional<std::int64_t> leading_number(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return {};
  return value;
}

std::int64_t usable_cores() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return CPU_COUNT(&set);
}

std::optional<std::int64_t> control_group_limit() {
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream in(path);
    std::string word;
    if (!(in >> word)) continue;
    const auto limit = leading_number(word);  // "max" means none, and so does a number beyond any memory
    if (limit && *limit < (std::int64_t{1} << 50)) return limit;
  }
  return {};
}

std::string gigabytes(std::int64_t bytes) {
  return fmt::format("{:.1f} GB", static_cast<double>(bytes) / kGigabyte);
}

}  // namespace

MachineFacts read_machine_facts() {
  MachineFacts facts;
  facts.distribution = value_of("/etc/os-release", "PRETTY_NAME", '=');
  facts.processor = value_of("/proc/cpuinfo", "model name", ':');
  facts.cores = usable_cores();
  facts.memory_bytes = leading_number(value_of("/proc/meminfo", "MemTotal", ':')).value_or(0) * 1024;
  facts.available_memory_bytes = leading_number(value_of("/proc/meminfo", "MemAvailable", ':')).value_or(0) * 1024;
  facts.memory_limit_bytes = control_group_limit();
  const auto add_disk = [&](const char* use, const fs::path& path) {
    facts.disks.push_back({use, path.string(), static_cast<std::int64_t>(free_disk_bytes(path))});
  };
  add_disk("working directory", fs::current_path());
  add_disk("temporary files", fs::temp_directory_path());
  facts.cuda = probe_cuda();
  return facts;
}

std::string nccl_version_beside(const fs::path& libtorch_folder) {
  const fs::path library = libtorch_folder / "../../nvidia/nccl/lib/libnccl.so.2";
  void* const handle = ::dlopen(library.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) return {};
  using GetVersion = int (*)(int*);
  const auto get_version = reinterpret_cast<GetVersion>(::dlsym(handle, "ncclGetVersion"));
  int code = 0;  // 22809 for 2.28.9
  if (get_version == nullptr || get_version(&code) != 0) return {};
  return fmt::format("{}.{}.{}", code / 10000, code / 100 % 100, code % 100);
}

std::vector<Problem> find_problems(const MachineFacts& machine, const BuildFacts& build) {
  std::vector<Problem> problems;
  const auto stops = [&](std::string text) { problems.push_back({true, std::move(text)}); };
  const auto hinders = [&](std::string text) { problems.push_back({false, std::move(text)}); };

  const bool driver = machine.cuda.driver_found || !machine.cuda.failure.empty();
  const std::string cuda = driver ? cuda_problem(machine.cuda) : "";
  if (!cuda.empty()) stops(cuda);
  const bool gpu = driver && cuda.empty();
  if (gpu && !build.libtorch_cuda)
    stops(
        "expected LibTorch's CUDA part, as a GPU is here; found LibTorch for CPUs alone; run tools/setup and "
        "tools/build again");
  if (gpu && !build.cuda_failure.empty()) stops(build.cuda_failure);
  if (gpu && !build.cuda_kernels)
    hinders(
        "expected our CUDA kernels, as a GPU is here; found a build without them; LibTorch's operations do their "
        "work, slower: install the CUDA 13 toolkit (nvcc) and run tools/build");
  if (machine.cuda.devices.size() > 1 && build.nccl_version.empty())
    hinders(fmt::format("expected NCCL, as {} GPUs are here; found none beside LibTorch; run tools/setup again",
                        machine.cuda.devices.size()));
  if (machine.simd == "DEFAULT")
    hinders("expected a processor with AVX2; found none of it; computing on the CPU is many times slower here");
  if (machine.threads > machine.cores)
    hinders(fmt::format("expected no more threads than cores; found {} threads on {} cores; unset OMP_NUM_THREADS",
                        machine.threads, machine.cores));
  const std::int64_t memory =
      std::min(machine.available_memory_bytes, machine.memory_limit_bytes.value_or(machine.available_memory_bytes));
  if (memory < kLittleMemory)
    hinders(fmt::format("expected at least {} of free memory; found {}; end other programs", gigabytes(kLittleMemory),
                        gigabytes(memory)));
  for (const auto& disk : machine.disks)
    if (disk.free_bytes < kLittleDisk)
      hinders(fmt::format("expected at least {} free for the {} ({}); found {}; make room", gigabytes(kLittleDisk),
                          disk.use, disk.path, gigabytes(disk.free_bytes)));
  return problems;
}

OrderedJson doctor_json(const MachineFacts& machine, const BuildFacts& build, const std::vector<Problem>& problems) {
  const auto or_null = [](const std::string& text) { return text.empty() ? OrderedJson() : OrderedJson(text); };
  OrderedJson out;
  out["versions"] = {{"baichuan", build.version},
                     {"libtorch", build.libtorch_version},
                     {"cuda", or_null(build.cuda_version)},
                     {"nccl", or_null(build.nccl_version)},
                     {"driver", or_null(machine.cuda.driver_version)},
                     {"compiler", build.compiler}};
  out["built_in"] = {{"build_type", build.build_type},
                     {"cuda_kernels", build.cuda_kernels},
                     {"cuda_architectures", or_null(build.cuda_architectures)},
                     {"libtorch_cuda", build.libtorch_cuda},
                     {"libtorch_folder", build.libtorch_folder}};
  out["machine"] = {{"distribution", machine.distribution},
                    {"processor", machine.processor},
                    {"simd", machine.simd},
                    {"cores", machine.cores},
                    {"threads", machine.threads}};
  out["memory"] = {{"total_bytes", machine.memory_bytes},
                   {"available_bytes", machine.available_memory_bytes},
                   {"limit_bytes", nullptr}};
  if (machine.memory_limit_bytes) out["memory"]["limit_bytes"] = *machine.memory_limit_bytes;
  out["disks"] = OrderedJson::array();
  for (const auto& disk : machine.disks)
    out["disks"].push_back({{"use", disk.use}, {"path", disk.path}, {"free_bytes", disk.free_bytes}});
  out["devices"] = OrderedJson::array();
  for (const auto& device : machine.cuda.devices)
    out["devices"].push_back({{"index", device.index},
                              {"name", device.name},
                              {"compute_capability", fmt::format("{}.{}", device.compute_major, device.compute_minor)},
                              {"memory_bytes", device.memory_bytes}});
  out["problems"] = OrderedJson::array();
  for (const auto& problem : problems)
    out["problems"].push_back({{"severity", problem.stops ? "error" : "warning"}, {"message", problem.message}});
  return out;
}

std::string doctor_text(const MachineFacts& machine, const BuildFacts& build, const std::vector<Problem>& problems) {
  std::string text;
  const auto row = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{:<20}{}\n", name, value);
  };
  row("baichuan", fmt::format("{} ({}, {})", build.version, build.build_type, build.compiler));
  row("LibTorch", fmt::format("{}, {}", build.libtorch_version, build.libtorch_folder));
  row("CUDA", fmt::format("{}; LibTorch's part {}; our kernels {}", build.cuda_version,
                          build.libtorch_cuda ? "installed" : "not installed",
                          build.cuda_kernels ? "built for " + build.cuda_architectures : "not built"));
  row("NCCL", build.nccl_version.empty() ? "not installed" : build.nccl_version);
  row("driver",
      machine.cuda.driver_version.empty() ? "none (CUDA 13 needs 580 or newer)" : machine.cuda.driver_version);
  for (const auto& device : machine.cuda.devices)
    row(fmt::format("cuda:{}", device.index),
        fmt::format("{}, compute capability {}.{}, {}", device.name, device.compute_major, device.compute_minor,
                    gigabytes(device.memory_bytes)));
  row("system", machine.distribution);
  row("processor", fmt::format("{}, {}, {} cores, {} threads used", machine.processor, machine.simd, machine.cores,
                               machine.threads));
  row("memory",
      fmt::format(
          "{} of {} free{}", gigabytes(machine.available_memory_bytes), gigabytes(machine.memory_bytes),
          machine.memory_limit_bytes ? fmt::format(", limited to {}", gigabytes(*machine.memory_limit_bytes)) : ""));
  for (const auto& disk : machine.disks)
    row(disk.use, fmt::format("{} free in {}", gigabytes(disk.free_bytes), disk.path));
  text += problems.empty() ? "\nNothing is wrong.\n" : "\n";
  for (const auto& problem : problems)
    text += fmt::format("{}: {}\n", problem.stops ? "error" : "warning", problem.message);
  return text;
}

}  // namespace baichuan
