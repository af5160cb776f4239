// What the kernels share: element types, 16-byte loads, sums over a block. Arithmetic is float32 throughout; stores
// round to nearest even.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/launch.h"

namespace baichuan::cuda {

__device__ inline float to_float(float v) {
  return v;
}
__device__ inline float to_float(__nv_bfloat16 v) {
  return __bfloat162float(v);
}
__device__ inline float to_float(__half v) {
  return __half2float(v);
}

template <class T>
__device__ T from_float(float v);
template <>
__device__ inline float from_float<float>(float v) {
  return v;
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}
template <>
__device__ inline __half from_float<__half>(float v) {
  return __float2half_rn(v);
}

template <class T>
__device__ float round_to(float v) {
  return to_float(from_float<T>(v));
}

// N neighbouring elements, moved as one.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};

template <class T>
constexpr int kWidest = 16 / sizeof(T);

// Whether rows of `columns` elements that begin at these addresses can be moved 16 bytes at a time.
template <class T, class... Pointers>
bool is_packable(std::int64_t columns, const Pointers*... pointers) {
  return columns % kWidest<T> == 0 && ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

__device__ inline float warp_sum(float v) {
  for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(0xFFFFFFFFu, v, offset);
  return v;
}

__device__ inline float warp_max(float v) {
  for (int offset = 16; offset > 0; offset /= 2) v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, offset));
  return v;
}

// The sum over a block of `kThreads`, in every thread. `shared` holds 32 floats; the order of additions is fixed.
template <int kThreads>
__device__ float block_sum(float v, float* shared) {
  v = warp_sum(v);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  v = threadIdx.x % 32 < kThreads / 32 ? shared[threadIdx.x % 32] : 0.0f;
  return warp_sum(v);
}

template <int kThreads>
__device__ float block_max(float v, float* shared) {
  v = warp_max(v);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  v = threadIdx.x % 32 < kThreads / 32 ? shared[threadIdx.x % 32] : -INFINITY;
  return warp_max(v);
}

// Calls body(T{}) with the type of the element.
template <class Body>
void with_element(Element element, const Body& body) {
  switch (element) {
    case Element::kFloat32:
      return body(float{});
    case Element::kBFloat16:
      return body(__nv_bfloat16{});
    case Element::kFloat16:
      return body(__half{});
  }
}

// Blocks for a loop over n items that strides over the grid.
inline unsigned grid_for(std::int64_t n, int threads) {
  constexpr std::int64_t kMostBlocks = 8192;
  const std::int64_t blocks = (n + threads - 1) / threads;
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

}  // namespace baichuan::cuda
