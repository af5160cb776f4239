#pragma once

#include <cstdint>

namespace baichuan {

// CUDA devices that this process may use (CUDA_VISIBLE_DEVICES counts), asked of the driver itself: the program links
// neither CUDA nor LibTorch. 0 without a driver, or with one that does not answer.
std::int64_t count_cuda_devices();

}  // namespace baichuan
