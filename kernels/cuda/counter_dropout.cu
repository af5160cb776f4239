// The same bits as the CPU: the draws are those of kernels/counter_dropout.h, and no product is contracted with a sum.
#include "kernels/cuda/device_code.cuh"

namespace baichuan::cuda {
namespace {

constexpr int kThreads = 256;

struct Words {
  std::uint32_t at[4];
};

__device__ Words philox(Words counter, std::uint32_t key0, std::uint32_t key1) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const std::uint32_t high0 = __umulhi(0xD2511F53u, counter.at[0]);
    const std::uint32_t high1 = __umulhi(0xCD9E8D57u, counter.at[2]);
    const std::uint32_t low0 = 0xD2511F53u * counter.at[0];
    const std::uint32_t low1 = 0xCD9E8D57u * counter.at[2];
    counter = {{high1 ^ counter.at[1] ^ key0, low1, high0 ^ counter.at[3] ^ key1, low0}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// One thread draws for four channels, 16 apart: neighbouring threads still touch neighbouring channels.
template <class T>
__global__ void dropout_kernel(T* y,
                               const T* x,
                               const std::int64_t* sample_ids,
                               std::int64_t rows,
                               std::int64_t positions,
                               std::int64_t channels,
                               DropoutRow shared,
                               bool accumulate) {
  const std::int64_t blocks_a_row = (channels + 63) / 64 * 16;
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < rows * blocks_a_row; i += stride) {
    const std::int64_t row = i / blocks_a_row;
    const std::int64_t block = i % blocks_a_row;
    const auto sample = static_cast<std::uint64_t>(sample_ids[row / positions]);
    const Words draws = philox({{static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(row % positions),
                                 static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(sample >> 32)}},
                               shared.key[0], shared.key[1]);
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const std::int64_t channel = block / 16 * 64 + word * 16 + block % 16;
      if (channel >= channels) continue;
      const std::int64_t at = row * channels + channel;
      float value = draws.at[word] < shared.threshold ? 0.0f : __fmul_rn(to_float(x[at]), shared.scale);
      if (accumulate) value = __fadd_rn(to_float(y[at]), value);
      y[at] = from_float<T>(value);
    }
  }
}

}  // namespace

void dropout(Element element,
             void* y,
             const void* x,
             const std::int64_t* sample_ids,
             std::int64_t batch,
             std::int64_t positions,
             std::int64_t channels,
             const DropoutRow& shared,
             bool accumulate,
             cudaStream_t stream) {
  const std::int64_t rows = batch * positions;
  with_element(element, [&](auto zero) {
    using T = decltype(zero);
    dropout_kernel<T><<<grid_for(rows * ((channels + 63) / 64 * 16), kThreads), kThreads, 0, stream>>>(
        static_cast<T*>(y), static_cast<const T*>(x), sample_ids, rows, positions, channels, shared, accumulate);
  });
}

}  // namespace baichuan::cuda
