#include "kernels/device.h"

#include <charconv>
#include <filesystem>
#include <mutex>

#include <dlfcn.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "core/error.h"
#include "core/log.h"
#include "kernels/cuda_driver.h"
#include "kernels/cuda_plugin.h"

namespace baichuan {
namespace {

namespace fs = std::filesystem;

constexpr int kNeededDriverApi = 13000;  // CUDA 13.0, driver 580

struct LoadedCuda {
  std::mutex mutex;
  bool loaded = false;
  const CudaKernels* kernels = nullptr;
  std::string kernels_path;
};

LoadedCuda& loaded_cuda() {
  static LoadedCuda state;
  return state;
}

// The folder of the library (or program) that holds `address`.
fs::path folder_of(const void* address) {
  Dl_info info{};
  if (::dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  return fs::path(info.dli_fname).parent_path();
}

// Beside this library, or in the lib folder of the build tree or installation that it is in.
fs::path find_kernels() {
  const fs::path here = folder_of(reinterpret_cast<const void*>(&cuda_problem));
  for (const char* folder : {"", "../lib", "../../lib"}) {
    const fs::path library = here / folder / "libbaichuan_cuda.so";
    if (fs::exists(library)) return library;
  }
  return {};
}

void load_kernels(LoadedCuda& state) {
  const fs::path library = find_kernels();
  if (library.empty()) {
    log::info("libbaichuan_cuda.so was not built: LibTorch's operations are used in place of our CUDA kernels");
    return;
  }
  state.kernels = open_cuda_kernels(library);
  state.kernels_path = library.string();
}

at::Device cuda_device(std::string_view text) {
  std::string_view number = text.substr(std::string_view("cuda").size());
  int index = 0;
  if (!number.empty()) {
    number.remove_prefix(1);
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
    if (error != std::errc() || end != number.data() + number.size() || index < 0)
      throw UsageError("--device expects auto, cpu, cuda or cuda:N; found '{}'; N counts GPUs from 0", text);
  }
  const CudaReport report = probe_cuda();
  const std::string problem = cuda_problem(report);
  if (!problem.empty()) throw MachineError("--device {}: {}", text, problem);
  if (index >= static_cast<int>(report.devices.size()))
    throw MachineError("--device {}: expected a GPU from cuda:0 to cuda:{}; found no GPU {}; choose another", text,
                       report.devices.size() - 1, index);
  load_cuda();
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

}  // namespace

void open_libtorch_cuda(const fs::path& library) {
  if (!fs::exists(library))
    throw MachineError(
        "a CUDA device needs LibTorch's libtorch_cuda.so; found none at {}; install the project's LibTorch with "
        "tools/setup, or use --device cpu",
        library.string());
  if (::dlopen(library.c_str(), RTLD_LAZY | RTLD_GLOBAL) == nullptr)
    throw MachineError(
        "a CUDA device needs libtorch_cuda.so and the CUDA libraries; found that they cannot be loaded ({}); run "
        "tools/setup on this machine, or use --device cpu",
        ::dlerror());
  if (!c10::impl::hasDeviceGuardImpl(at::kCUDA))
    throw MachineError(
        "expected {} to bring CUDA; found that it registered no device; reinstall LibTorch with "
        "tools/setup",
        library.string());
}

const CudaKernels* open_cuda_kernels(const fs::path& library) {
  void* const plugin = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  const auto entry =
      plugin == nullptr ? nullptr : reinterpret_cast<const CudaKernels* (*)()>(::dlsym(plugin, kCudaPluginEntry));
  if (entry == nullptr)
    throw MachineError("expected {} to hold the CUDA kernels of this build; found: {}; build it again",
                       library.string(), ::dlerror());
  return entry();
}

CudaReport probe_cuda() {
  return probe_cuda_driver("libcuda.so.1");
}

std::string cuda_problem(const CudaReport& report) {
  const std::string found = report.driver_version.empty() ? "" : " (driver " + report.driver_version + ")";
  if (!report.failure.empty())
    return fmt::format(
        "expected a working NVIDIA driver; found one that answers: {}{}; reinstall it or use "
        "--device cpu",
        report.failure, found);
  if (!report.driver_found)
    return fmt::format(
        "expected an NVIDIA driver, 580 or newer; found none (libcuda.so.1 is not there){}; install "
        "it or use --device cpu",
        found);
  if (report.driver_api < kNeededDriverApi)
    return fmt::format(
        "expected an NVIDIA driver for CUDA 13, 580 or newer; found one for CUDA {}.{}{}; update it "
        "or use --device cpu",
        report.driver_api / 1000, report.driver_api % 1000 / 10, found);
  if (report.devices.empty())
    return fmt::format(
        "expected a GPU; found a driver but no device{}; check CUDA_VISIBLE_DEVICES or use "
        "--device cpu",
        found);
  return {};
}

void load_cuda() {
  LoadedCuda& state = loaded_cuda();
  const std::scoped_lock lock(state.mutex);
  if (state.loaded) return;
  open_libtorch_cuda(folder_of(reinterpret_cast<const void*>(&at::get_num_threads)) / "libtorch_cuda.so");
  load_kernels(state);
  state.loaded = true;
}

std::string cuda_kernels_path() {
  return loaded_cuda().kernels_path;
}

const CudaKernels* cuda_kernels() {
  return loaded_cuda().kernels;
}

const CudaKernels* cuda_kernels_for(std::initializer_list<const at::Tensor*> tensors) {
  const CudaKernels* const kernels = cuda_kernels();
  const at::ScalarType dtype = (*tensors.begin())->scalar_type();
  if (kernels == nullptr || (dtype != at::kFloat && dtype != at::kBFloat16 && dtype != at::kHalf)) return nullptr;
  for (const at::Tensor* tensor : tensors)
    if (!tensor->is_cuda() || tensor->scalar_type() != dtype) return nullptr;
  return kernels;
}

at::Device select_device(std::string_view text) {
  if (text == "cpu") return at::kCPU;
  if (text == "cuda" || text.starts_with("cuda:")) return cuda_device(text);
  if (text != "auto") throw UsageError("--device expects auto, cpu, cuda or cuda:N; found '{}'", text);
  const CudaReport report = probe_cuda();
  const std::string problem = cuda_problem(report);
  if (problem.empty()) {
    load_cuda();
    return {at::kCUDA, 0};
  }
  // A machine without an NVIDIA driver is no news; one whose GPU goes unused is.
  if (report.driver_found || !report.driver_version.empty()) log::warning("the GPU is not used: {}", problem);
  return at::kCPU;
}

std::optional<at::ScalarType> parse_dtype(std::string_view text) {
  if (text == "auto") return {};
  if (text == "fp32") return at::kFloat;
  if (text == "bf16") return at::kBFloat16;
  if (text == "fp16") return at::kHalf;
  throw UsageError("--dtype expects auto, fp32, bf16 or fp16; found '{}'", text);
}

}  // namespace baichuan
