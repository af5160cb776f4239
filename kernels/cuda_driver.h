// What device.h is made of: the few calls of the NVIDIA driver that tell what a machine has, and the libraries that are
// opened at run time.
#pragma once

#include <filesystem>

#include "kernels/cuda_plugin.h"
#include "kernels/device.h"

namespace baichuan {

// `library` is the driver's name for the dynamic linker; tests give another.
CudaReport probe_cuda_driver(const char* library);

// Throw MachineError when the file is missing, cannot be loaded or is something else.
void open_libtorch_cuda(const std::filesystem::path& library);
const CudaKernels* open_cuda_kernels(const std::filesystem::path& library);

}  // namespace baichuan
