#include "kernels/cuda_driver.h"

#include <fstream>
#include <regex>

#include <dlfcn.h>

namespace baichuan {
namespace {

// The driver's interface as its documentation gives it; a CUDA toolkit is not needed to call it.
using CuInit = int (*)(unsigned flags);
using CuDriverGetVersion = int (*)(int* version);
using CuDeviceGetCount = int (*)(int* count);
using CuDeviceGet = int (*)(int* device, int ordinal);
using CuDeviceGetName = int (*)(char* name, int length, int device);
using CuDeviceGetAttribute = int (*)(int* value, int attribute, int device);
using CuDeviceTotalMem = int (*)(std::size_t* bytes, int device);
using CuGetErrorString = int (*)(int error, const char** text);

constexpr int kComputeCapabilityMajor = 75;
constexpr int kComputeCapabilityMinor = 76;
constexpr int kNoDevice = 100;

template <class Function>
Function symbol(void* library, const char* name) {
  return reinterpret_cast<Function>(::dlsym(library, name));
}

std::string error_text(void* library, int error) {
  const auto get_error_string = symbol<CuGetErrorString>(library, "cuGetErrorString");
  const char* text = nullptr;
  if (get_error_string == nullptr || get_error_string(error, &text) != 0 || text == nullptr)
    return "error " + std::to_string(error);
  return text;
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  ..."
std::string kernel_module_version() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  std::getline(file, line);
  std::smatch found;
  return std::regex_search(line, found, std::regex("[0-9]+\\.[0-9]+(\\.[0-9]+)?")) ? found.str() : std::string();
}

CudaDevice describe_device(void* library, int ordinal) {
  CudaDevice result;
  result.index = ordinal;
  int device = 0;
  char name[256] = {};
  std::size_t bytes = 0;
  symbol<CuDeviceGet>(library, "cuDeviceGet")(&device, ordinal);
  symbol<CuDeviceGetName>(library, "cuDeviceGetName")(name, sizeof(name) - 1, device);
  const auto attribute = symbol<CuDeviceGetAttribute>(library, "cuDeviceGetAttribute");
  attribute(&result.compute_major, kComputeCapabilityMajor, device);
  attribute(&result.compute_minor, kComputeCapabilityMinor, device);
  symbol<CuDeviceTotalMem>(library, "cuDeviceTotalMem_v2")(&bytes, device);
  result.name = name;
  result.memory_bytes = static_cast<std::int64_t>(bytes);
  return result;
}

}  // namespace

CudaReport probe_cuda_driver(const char* library_name) {
  CudaReport report;
  report.driver_version = kernel_module_version();
  void* const library = ::dlopen(library_name, RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return report;
  for (const char* name : {"cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName",
                           "cuDeviceGetAttribute", "cuDeviceTotalMem_v2"}) {
    if (::dlsym(library, name) != nullptr) continue;
    report.failure = std::string("it lacks ") + name;
    return report;
  }
  report.driver_found = true;
  symbol<CuDriverGetVersion>(library, "cuDriverGetVersion")(&report.driver_api);
  const int started = symbol<CuInit>(library, "cuInit")(0);
  if (started != 0) {
    if (started != kNoDevice) report.failure = error_text(library, started);
    return report;
  }
  int count = 0;
  symbol<CuDeviceGetCount>(library, "cuDeviceGetCount")(&count);
  for (int ordinal = 0; ordinal < count; ++ordinal) report.devices.push_back(describe_device(library, ordinal));
  return report;
}

}  // namespace baichuan
