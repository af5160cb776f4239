// One block a row of logits: their maximum, the sum of exponentials, then the gradient in place.
#include "kernels/cuda/device_code.cuh"

namespace baichuan::cuda {
namespace {

constexpr int kThreads = 512;

template <class T, int N>
__global__ void cross_entropy_kernel(
    float* losses, T* logits, const std::int64_t* labels, std::int64_t columns, float scale, bool write_gradient) {
  using Block = Pack<T, N>;
  __shared__ float shared[32];
  T* const row = logits + blockIdx.x * columns;
  auto* const packs = reinterpret_cast<Block*>(row);
  const std::int64_t count = columns / N;
  const std::int64_t label = labels[blockIdx.x];
  // A label outside the vocabulary shows as a loss that is not a number instead of reading elsewhere.
  const float of_label = label >= 0 && label < columns ? to_float(row[label]) : NAN;

  float top = -INFINITY;
  bool bad = false;  // fmaxf drops NaN, which must reach the loss
  for (std::int64_t p = threadIdx.x; p < count; p += kThreads) {
    const Block v = packs[p];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float x = to_float(v.at[k]);
      bad |= isnan(x);
      top = fmaxf(top, x);
    }
  }
  top = block_max<kThreads>(top, shared);
  float sum = bad ? NAN : 0.0f;
  for (std::int64_t p = threadIdx.x; p < count; p += kThreads) {
    const Block v = packs[p];
#pragma unroll
    for (int k = 0; k < N; ++k) sum += expf(to_float(v.at[k]) - top);
  }
  sum = block_sum<kThreads>(sum, shared);
  if (threadIdx.x == 0) losses[blockIdx.x] = logf(sum) - (of_label - top);
  if (!write_gradient) return;

  const float factor = scale / sum;
  for (std::int64_t p = threadIdx.x; p < count; p += kThreads) {
    Block v = packs[p];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float probability = expf(to_float(v.at[k]) - top) * factor;
      v.at[k] = from_float<T>(p * N + k == label ? probability - scale : probability);
    }
    packs[p] = v;
  }
}

}  // namespace

void cross_entropy(Element element,
                   float* losses,
                   void* logits,
                   const std::int64_t* labels,
                   std::int64_t rows,
                   std::int64_t columns,
                   float scale,
                   bool write_gradient,
                   cudaStream_t stream) {
  with_element(element, [&](auto zero) {
    using T = decltype(zero);
    auto* const row = static_cast<T*>(logits);
    const auto grid = static_cast<unsigned>(rows);
    if (is_packable<T>(columns, logits))
      cross_entropy_kernel<T, kWidest<T>>
          <<<grid, kThreads, 0, stream>>>(losses, row, labels, columns, scale, write_gradient);
    else
      cross_entropy_kernel<T, 1><<<grid, kThreads, 0, stream>>>(losses, row, labels, columns, scale, write_gradient);
  });
}

}  // namespace baichuan::cuda
