#include <fmt/format.h>
#include <gtest/gtest.h>

#include "app/engine/machine_facts.h"

namespace baichuan {
namespace {

constexpr std::int64_t kGigabyte = 1'000'000'000;

MachineFacts machine_without_gpu() {
  MachineFacts machine;
  machine.distribution = "Debian GNU/Linux 12 (bookworm)";
  machine.processor = "a processor";
  machine.simd = "AVX512";
  machine.cores = 8;
  machine.threads = 8;
  machine.memory_bytes = 64 * kGigabyte;
  machine.available_memory_bytes = 60 * kGigabyte;
  machine.disks = {{"working directory", "/work", 500 * kGigabyte}};
  return machine;
}

MachineFacts machine_with_gpus(int count) {
  MachineFacts machine = machine_without_gpu();
  machine.cuda.driver_found = true;
  machine.cuda.driver_version = "580.65.06";
  machine.cuda.driver_api = 13000;
  for (int i = 0; i < count; ++i) machine.cuda.devices.push_back({i, "H200", 9, 0, 141 * kGigabyte});
  return machine;
}

BuildFacts cuda_build() {
  BuildFacts build;
  build.version = "0.1.0";
  build.build_type = "Release";
  build.compiler = "GNU 12.2.0";
  build.libtorch_version = "2.11.0";
  build.libtorch_folder = "/opt/torch/lib";
  build.cuda_version = "13.0";
  build.cuda_architectures = "80-real, 90";
  build.libtorch_cuda = true;
  build.cuda_kernels = true;
  build.nccl_version = "2.28.9";
  return build;
}

BuildFacts cpu_build() {
  BuildFacts build = cuda_build();
  build.libtorch_cuda = false;
  build.cuda_kernels = false;
  build.cuda_architectures = "";
  build.nccl_version = "";
  return build;
}

std::string only_problem(const MachineFacts& machine, const BuildFacts& build, bool stops) {
  const auto problems = find_problems(machine, build);
  if (problems.size() != 1) return fmt::format("{} problems", problems.size());
  EXPECT_EQ(problems[0].stops, stops);
  return problems[0].message;
}

TEST(Doctor, FindsNothingWrongWithACpuMachine) {
  EXPECT_TRUE(find_problems(machine_without_gpu(), cpu_build()).empty());
  EXPECT_TRUE(find_problems(machine_without_gpu(), cuda_build()).empty());
}

TEST(Doctor, FindsNothingWrongWithAGpuMachineOfThePinnedVersions) {
  EXPECT_TRUE(find_problems(machine_with_gpus(8), cuda_build()).empty());
}

TEST(Doctor, SaysThatCuda13NeedsDriver580) {
  MachineFacts machine = machine_with_gpus(1);
  machine.cuda.driver_version = "535.129.03";
  machine.cuda.driver_api = 12020;
  const std::string message = only_problem(machine, cuda_build(), true);
  EXPECT_NE(message.find("580 or newer"), std::string::npos) << message;
  EXPECT_NE(message.find("535.129.03"), std::string::npos) << message;
}

TEST(Doctor, SaysWhenAGpuIsThereAndLibTorchIsForCpusAlone) {
  BuildFacts build = cuda_build();
  build.libtorch_cuda = false;
  EXPECT_NE(only_problem(machine_with_gpus(1), build, true).find("run tools/setup"), std::string::npos);
}

TEST(Doctor, PassesOnWhyCudaCouldNotBeLoaded) {
  BuildFacts build = cuda_build();
  build.cuda_failure = "a CUDA device needs libtorch_cuda.so";
  EXPECT_EQ(only_problem(machine_with_gpus(1), build, true), build.cuda_failure);
}

TEST(Doctor, WarnsOfMissingKernelsAndOfMissingNccl) {
  BuildFacts build = cuda_build();
  build.cuda_kernels = false;
  EXPECT_NE(only_problem(machine_with_gpus(1), build, false).find("CUDA kernels"), std::string::npos);
  build.cuda_kernels = true;
  build.nccl_version = "";
  EXPECT_TRUE(find_problems(machine_with_gpus(1), build).empty());
  EXPECT_NE(only_problem(machine_with_gpus(2), build, false).find("NCCL, as 2 GPUs"), std::string::npos);
}

TEST(Doctor, WarnsOfThreadsMemoryDiskAndProcessor) {
  MachineFacts machine = machine_without_gpu();
  machine.threads = 16;
  EXPECT_NE(only_problem(machine, cpu_build(), false).find("16 threads on 8 cores"), std::string::npos);
  machine = machine_without_gpu();
  machine.memory_limit_bytes = kGigabyte;  // of a container on a large machine
  EXPECT_NE(only_problem(machine, cpu_build(), false).find("found 1.0 GB"), std::string::npos);
  machine = machine_without_gpu();
  machine.disks[0].free_bytes = kGigabyte;
  EXPECT_NE(only_problem(machine, cpu_build(), false).find("(/work)"), std::string::npos);
  machine = machine_without_gpu();
  machine.simd = "DEFAULT";
  EXPECT_NE(only_problem(machine, cpu_build(), false).find("AVX2"), std::string::npos);
}

TEST(Doctor, WritesTheSameFactsAsJsonAndAsText) {
  const MachineFacts machine = machine_with_gpus(2);
  BuildFacts build = cuda_build();
  build.nccl_version = "";
  const auto problems = find_problems(machine, build);
  const OrderedJson json = doctor_json(machine, build, problems);
  EXPECT_EQ(json["versions"]["libtorch"], "2.11.0");
  EXPECT_EQ(json["versions"]["nccl"], nullptr);
  EXPECT_EQ(json["devices"][1]["compute_capability"], "9.0");
  EXPECT_EQ(json["problems"][0]["severity"], "warning");
  const std::string text = doctor_text(machine, build, problems);
  for (const char* word : {"2.11.0", "580.65.06", "cuda:1", "80-real, 90", "warning: expected NCCL"})
    EXPECT_NE(text.find(word), std::string::npos) << word << " is not in\n" << text;
}

TEST(Doctor, ReadsThisMachine) {
  const MachineFacts machine = read_machine_facts();
  EXPECT_GT(machine.cores, 0);
  EXPECT_GT(machine.memory_bytes, kGigabyte / 4);
  EXPECT_GE(machine.memory_bytes, machine.available_memory_bytes);
  ASSERT_EQ(machine.disks.size(), 2u);
  EXPECT_FALSE(machine.distribution.empty());
}

}  // namespace
}  // namespace baichuan
