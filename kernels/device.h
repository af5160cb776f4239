// Where tensors live and in which type: --device and --dtype. The program links no CUDA library; LibTorch's CUDA part
// and our own CUDA kernels are loaded when a CUDA device is asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

namespace baichuan {

struct CudaDevice {
  int index = 0;
  std::string name;
  int compute_major = 0;
  int compute_minor = 0;
  std::int64_t memory_bytes = 0;
};

// What the NVIDIA driver says; asking it loads nothing of LibTorch.
struct CudaReport {
  bool driver_found = false;
  std::string driver_version;  // "580.65.06", or empty where it cannot be read
  int driver_api = 0;          // 13000 for CUDA 13.0
  std::vector<CudaDevice> devices;
  std::string failure;  // what the driver answered when it could not start
};

CudaReport probe_cuda();

// Why a machine with this report cannot run CUDA 13: what is missing and what to do. Empty when it can.
std::string cuda_problem(const CudaReport& report);

// Loads LibTorch's CUDA part, and our kernels where they were built. Throws MachineError when the machine, the driver
// or the installation does not allow it. Must come before anything that asks ATen whether there is CUDA (seeding its
// generators does): ATen remembers the first answer.
void load_cuda();
// The path of the loaded libbaichuan_cuda.so; empty without it (then ATen's operations do its work).
std::string cuda_kernels_path();

// "auto" (the first GPU that can be used, else the CPU), "cpu", "cuda" or "cuda:N". A CUDA device is loaded and checked
// here. Throws UsageError for other words and MachineError when the device cannot be had.
at::Device select_device(std::string_view text);

// "fp32", "bf16", "fp16"; nothing for "auto". Throws UsageError for other words.
std::optional<at::ScalarType> parse_dtype(std::string_view text);

}  // namespace baichuan
