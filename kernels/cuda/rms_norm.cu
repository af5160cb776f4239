// One block a row. The quotient is rounded to the element type before the weight, as on the CPU.
#include "kernels/cuda/device_code.cuh"

namespace baichuan::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kRowsASlab = 64;

template <class T, int N>
__global__ void rms_norm_kernel(T* y, float* rstd, const T* x, const T* weight, std::int64_t columns, float eps) {
  using Block = Pack<T, N>;
  __shared__ float shared[32];
  const std::int64_t packs = columns / N;
  const auto* const in = reinterpret_cast<const Block*>(x + blockIdx.x * columns);
  const auto* const w = reinterpret_cast<const Block*>(weight);
  auto* const out = reinterpret_cast<Block*>(y + blockIdx.x * columns);
  float sum = 0;
  for (std::int64_t p = threadIdx.x; p < packs; p += kThreads) {
    const Block v = in[p];
#pragma unroll
    for (int k = 0; k < N; ++k) sum += to_float(v.at[k]) * to_float(v.at[k]);
  }
  const float scale = 1.0f / sqrtf(block_sum<kThreads>(sum, shared) / static_cast<float>(columns) + eps);
  if (threadIdx.x == 0) rstd[blockIdx.x] = scale;
  for (std::int64_t p = threadIdx.x; p < packs; p += kThreads) {
    const Block v = in[p];
    const Block f = w[p];
    Block result;
#pragma unroll
    for (int k = 0; k < N; ++k)
      result.at[k] = from_float<T>(round_to<T>(to_float(v.at[k]) * scale) * to_float(f.at[k]));
    out[p] = result;
  }
}

template <class T, int N>
__global__ void backward_x_kernel(
    T* dx, const T* dy, const T* x, const T* weight, const float* rstd, std::int64_t columns) {
  using Block = Pack<T, N>;
  __shared__ float shared[32];
  const std::int64_t packs = columns / N;
  const auto* const dout = reinterpret_cast<const Block*>(dy + blockIdx.x * columns);
  const auto* const in = reinterpret_cast<const Block*>(x + blockIdx.x * columns);
  const auto* const w = reinterpret_cast<const Block*>(weight);
  auto* const din = reinterpret_cast<Block*>(dx + blockIdx.x * columns);
  float sum = 0;
  for (std::int64_t p = threadIdx.x; p < packs; p += kThreads) {
    const Block d = dout[p], v = in[p], f = w[p];
#pragma unroll
    for (int k = 0; k < N; ++k) sum += to_float(d.at[k]) * to_float(f.at[k]) * to_float(v.at[k]);
  }
  const float scale = rstd[blockIdx.x];
  const float along = block_sum<kThreads>(sum, shared) / static_cast<float>(columns) * scale * scale;
  for (std::int64_t p = threadIdx.x; p < packs; p += kThreads) {
    const Block d = dout[p], v = in[p], f = w[p];
    Block result;
#pragma unroll
    for (int k = 0; k < N; ++k)
      result.at[k] = from_float<T>((to_float(d.at[k]) * to_float(f.at[k]) - to_float(v.at[k]) * along) * scale);
    din[p] = result;
  }
}

// partial[slab][column]: one thread a column, one grid row a slab of rows.
template <class T>
__global__ void partial_weight_kernel(
    float* partial, const T* dy, const T* x, const float* rstd, std::int64_t rows, std::int64_t columns) {
  const std::int64_t column = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= columns) return;
  const std::int64_t first = blockIdx.y * kRowsASlab;
  const std::int64_t last = first + kRowsASlab < rows ? first + kRowsASlab : rows;
  float sum = 0;
  for (std::int64_t r = first; r < last; ++r)
    sum += to_float(dy[r * columns + column]) * round_to<T>(to_float(x[r * columns + column]) * rstd[r]);
  partial[blockIdx.y * columns + column] = sum;
}

__global__ void sum_slabs_kernel(float* dweight, const float* partial, std::int64_t slabs, std::int64_t columns) {
  const std::int64_t column = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= columns) return;
  float sum = 0;
  for (std::int64_t slab = 0; slab < slabs; ++slab) sum += partial[slab * columns + column];
  dweight[column] = sum;
}

unsigned blocks_for_columns(std::int64_t columns) {
  return static_cast<unsigned>((columns + kThreads - 1) / kThreads);
}

}  // namespace

void rms_norm(Element element,
              void* y,
              float* rstd,
              const void* x,
              const void* weight,
              std::int64_t rows,
              std::int64_t columns,
              float eps,
              cudaStream_t stream) {
  with_element(element, [&](auto zero) {
    using T = decltype(zero);
    auto* const out = static_cast<T*>(y);
    const auto* const in = static_cast<const T*>(x);
    const auto* const w = static_cast<const T*>(weight);
    const auto grid = static_cast<unsigned>(rows);
    if (is_packable<T>(columns, y, x, weight))
      rms_norm_kernel<T, kWidest<T>><<<grid, kThreads, 0, stream>>>(out, rstd, in, w, columns, eps);
    else
      rms_norm_kernel<T, 1><<<grid, kThreads, 0, stream>>>(out, rstd, in, w, columns, eps);
  });
}

void rms_norm_backward_x(Element element,
                         void* dx,
                         const void* dy,
                         const void* x,
                         const void* weight,
                         const float* rstd,
                         std::int64_t rows,
                         std::int64_t columns,
                         cudaStream_t stream) {
  with_element(element, [&](auto zero) {
    using T = decltype(zero);
    auto* const din = static_cast<T*>(dx);
    const auto* const dout = static_cast<const T*>(dy);
    const auto* const in = static_cast<const T*>(x);
    const auto* const w = static_cast<const T*>(weight);
    const auto grid = static_cast<unsigned>(rows);
    if (is_packable<T>(columns, dx, dy, x, weight))
      backward_x_kernel<T, kWidest<T>><<<grid, kThreads, 0, stream>>>(din, dout, in, w, rstd, columns);
    else
      backward_x_kernel<T, 1><<<grid, kThreads, 0, stream>>>(din, dout, in, w, rstd, columns);
  });
}

std::int64_t weight_slabs(std::int64_t rows) {
  return (rows + kRowsASlab - 1) / kRowsASlab;
}

void rms_norm_backward_weight(Element element,
                              float* dweight,
                              float* partial,
                              const void* dy,
                              const void* x,
                              const float* rstd,
                              std::int64_t rows,
                              std::int64_t columns,
                              cudaStream_t stream) {
  with_element(element, [&](auto zero) {
    using T = decltype(zero);
    const dim3 grid(blocks_for_columns(columns), static_cast<unsigned>(weight_slabs(rows)));
    partial_weight_kernel<T><<<grid, kThreads, 0, stream>>>(partial, static_cast<const T*>(dy),
                                                            static_cast<const T*>(x), rstd, rows, columns);
  });
  sum_slabs_kernel<<<blocks_for_columns(columns), kThreads, 0, stream>>>(dweight, partial, weight_slabs(rows), columns);
}

}  // namespace baichuan::cuda
