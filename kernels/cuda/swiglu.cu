// Elementwise, 16 bytes a thread and turn.
#include "kernels/cuda/device_code.cuh"

namespace baichuan::cuda {
namespace {

constexpr int kThreads = 256;

__device__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

template <class T, int N>
__global__ void swiglu_kernel(Pack<T, N>* y, const Pack<T, N>* gate, const Pack<T, N>* up, std::int64_t packs) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t p = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; p < packs; p += stride) {
    const auto g = gate[p], u = up[p];
    Pack<T, N> result;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float x = to_float(g.at[k]);
      result.at[k] = from_float<T>(round_to<T>(x * sigmoid(x)) * to_float(u.at[k]));
    }
    y[p] = result;
  }
}

template <class T, int N>
__global__ void swiglu_backward_kernel(Pack<T, N>* dgate,
                                       Pack<T, N>* dup,
                                       const Pack<T, N>* dy,
                                       const Pack<T, N>* gate,
                                       const Pack<T, N>* up,
                                       std::int64_t packs) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t p = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; p < packs; p += stride) {
    const auto g = gate[p], u = up[p], d = dy[p];
    Pack<T, N> of_gate, of_up;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float x = to_float(g.at[k]);
      const float s = sigmoid(x);
      const float out = to_float(d.at[k]);
      of_gate.at[k] = from_float<T>(out * to_float(u.at[k]) * (s * (1.0f + x * (1.0f - s))));
      of_up.at[k] = from_float<T>(out * round_to<T>(x * s));
    }
    dgate[p] = of_gate;
    dup[p] = of_up;
  }
}

template <class T, int N>
const Pack<T, N>* packs_at(const void* pointer) {
  return static_cast<const Pack<T, N>*>(pointer);
}
template <class T, int N>
Pack<T, N>* packs_at(void* pointer) {
  return static_cast<Pack<T, N>*>(pointer);
}

template <class T, int N>
void launch_forward(void* y, const void* gate, const void* up, std::int64_t n, cudaStream_t stream) {
  swiglu_kernel<T, N><<<grid_for(n / N, kThreads), kThreads, 0, stream>>>(packs_at<T, N>(y), packs_at<T, N>(gate),
                                                                          packs_at<T, N>(up), n / N);
}

template <class T, int N>
void launch_backward(
    void* dgate, void* dup, const void* dy, const void* gate, const void* up, std::int64_t n, cudaStream_t stream) {
  swiglu_backward_kernel<T, N><<<grid_for(n / N, kThreads), kThreads, 0, stream>>>(
      packs_at<T, N>(dgate), packs_at<T, N>(dup), packs_at<T, N>(dy), packs_at<T, N>(gate), packs_at<T, N>(up), n / N);
}

}  // namespace

void swiglu(Element element, void* y, const void* gate, const void* up, std::int64_t n, cudaStream_t stream) {
  with_element(element, [&](auto zero) {
    using T = decltype(zero);
    if (is_packable<T>(n, y, gate, up))
      launch_forward<T, kWidest<T>>(y, gate, up, n, stream);
    else
      launch_forward<T, 1>(y, gate, up, n, stream);
  });
}

void swiglu_backward(Element element,
                     void* dgate,
                     void* dup,
                     const void* dy,
                     const void* gate,
                     const void* up,
                     std::int64_t n,
                     cudaStream_t stream) {
  with_element(element, [&](auto zero) {
    using T = decltype(zero);
    if (is_packable<T>(n, dgate, dup, dy, gate, up))
      launch_backward<T, kWidest<T>>(dgate, dup, dy, gate, up, n, stream);
    else
      launch_backward<T, 1>(dgate, dup, dy, gate, up, n, stream);
  });
}

}  // namespace baichuan::cuda
