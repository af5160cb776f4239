// The table that libbaichuan_cuda.so fills. The plug-in is loaded by kernels/device.cpp and depends on nothing of ours
// but this header; without it the fused operations on CUDA tensors are made of ATen's.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "kernels/cpu/row_kernels.h"

namespace baichuan {

// All tensors are contiguous CUDA tensors of one device and of float32, bfloat16 or float16, except where said.
struct CudaKernels {
  // y like x, rstd float32 [rows]
  void (*rms_norm)(
      const at::Tensor& y, const at::Tensor& rstd, const at::Tensor& x, const at::Tensor& weight, double eps);
  // dx like x and dweight float32 [D]; either may be undefined. Deterministic.
  void (*rms_norm_backward)(const at::Tensor& dx,
                            const at::Tensor& dweight,
                            const at::Tensor& dy,
                            const at::Tensor& x,
                            const at::Tensor& weight,
                            const at::Tensor& rstd);
  void (*swiglu)(const at::Tensor& y, const at::Tensor& gate, const at::Tensor& up);
  void (*swiglu_backward)(const at::Tensor& dgate,
                          const at::Tensor& dup,
                          const at::Tensor& dy,
                          const at::Tensor& gate,
                          const at::Tensor& up);
  // x [B, T, C]; sample_ids int64 [B] on the device; `shared` holds key, threshold and scale.
  void (*dropout)(const at::Tensor& y,
                  const at::Tensor& x,
                  const at::Tensor& sample_ids,
                  const cpu::DropoutRow& shared,
                  bool accumulate);
  // losses float32 [n], logits [n, V] (overwritten by their gradient if asked), labels int64 [n] on the device
  void (*cross_entropy)(
      const at::Tensor& losses, const at::Tensor& logits, const at::Tensor& labels, double scale, bool write_gradient);
};

// The name of the plug-in's one exported function, `const CudaKernels* (*)()`.
constexpr const char* kCudaPluginEntry = "baichuan_cuda_kernels_v1";

// Null until load_cuda() has found the plug-in.
const CudaKernels* cuda_kernels();

// The plug-in's kernels for these tensors, or null: another device, mixed dtypes, a dtype it does not have, no plug-in.
const CudaKernels* cuda_kernels_for(std::initializer_list<const at::Tensor*> tensors);

}  // namespace baichuan
