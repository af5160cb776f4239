#include "app/cuda_devices.h"

#include <dlfcn.h>

namespace baichuan {

std::int64_t count_cuda_devices() {
  // Stays loaded: the driver does not take being unloaded kindly.
  void* const driver = ::dlopen("libcuda.so.1", RTLD_LAZY);
  if (driver == nullptr) return 0;
  auto* const init = reinterpret_cast<int (*)(unsigned)>(::dlsym(driver, "cuInit"));
  auto* const get_count = reinterpret_cast<int (*)(int*)>(::dlsym(driver, "cuDeviceGetCount"));
  int count = 0;
  if (init == nullptr || get_count == nullptr || init(0) != 0 || get_count(&count) != 0) return 0;
  return count;
}

}  // namespace baichuan
