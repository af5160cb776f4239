// What `baichuan doctor` knows of the machine and of this installation, and what follows from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "kernels/device.h"

namespace baichuan {

struct DiskFacts {
  std::string use;  // "working directory", "temporary files"
  std::string path;
  std::int64_t free_bytes = 0;
};

struct MachineFacts {
  std::string distribution;  // "Debian GNU/Linux 12 (bookworm)"
  std::string processor;
  std::string simd;  // ATen's word for the widest instructions: DEFAULT, AVX2, AVX512
  std::int64_t cores = 0;
  std::int64_t threads = 0;  // that ATen computes with
  std::int64_t memory_bytes = 0;
  std::int64_t available_memory_bytes = 0;
  std::optional<std::int64_t> memory_limit_bytes;  // of the control group (containers)
  std::vector<DiskFacts> disks;
  CudaReport cuda;
};

struct BuildFacts {
  std::string version;
  std::string build_type;
  std::string compiler;
  std::string libtorch_version;
  std::string libtorch_folder;
  std::string cuda_version;        // that LibTorch was built with, "13.0"
  std::string cuda_architectures;  // of our kernels; empty when they were not built
  bool libtorch_cuda = false;      // libtorch_cuda.so is there
  bool cuda_kernels = false;       // libbaichuan_cuda.so is there
  std::string nccl_version;        // empty when NCCL is not there
  std::string cuda_failure;        // why LibTorch's CUDA part could not be loaded, when it was tried
};

struct Problem {
  bool stops;  // a command will fail because of it
  std::string message;
};

MachineFacts read_machine_facts();
// `folder` is of the libraries that are asked, e.g. LibTorch's; empty when it has no NCCL beside it.
std::string nccl_version_beside(const std::filesystem::path& libtorch_folder);

std::vector<Problem> find_problems(const MachineFacts& machine, const BuildFacts& build);
OrderedJson doctor_json(const MachineFacts& machine, const BuildFacts& build, const std::vector<Problem>& problems);
std::string doctor_text(const MachineFacts& machine, const BuildFacts& build, const std::vector<Problem>& problems);

}  // namespace baichuan
