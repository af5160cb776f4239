// The few calls of the NVIDIA driver that tell what a machine has. The driver is opened at run time.
#pragma once

#include "kernels/device.h"

namespace baichuan {

// `library` is the driver's name for the dynamic linker; tests give another.
CudaReport probe_cuda_driver(const char* library);

}  // namespace baichuan
