// The launches of the CUDA kernels, on raw device pointers: what nvcc compiles knows no LibTorch, and plugin.cpp, which
// does, is compiled by the host compiler.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "kernels/cpu/row_kernels.h"

namespace baichuan::cuda {

using cpu::DropoutRow;
using cpu::Element;

// y, x [rows, columns], weight [columns], rstd [rows]
void rms_norm(Element element,
              void* y,
              float* rstd,
              const void* x,
              const void* weight,
              std::int64_t rows,
              std::int64_t columns,
              float eps,
              cudaStream_t stream);

// dx [rows, columns]
void rms_norm_backward_x(Element element,
                         void* dx,
                         const void* dy,
                         const void* x,
                         const void* weight,
                         const float* rstd,
                         std::int64_t rows,
                         std::int64_t columns,
                         cudaStream_t stream);

// dweight [columns] float32; `partial` is room for weight_slabs(rows) * columns float32.
std::int64_t weight_slabs(std::int64_t rows);
void rms_norm_backward_weight(Element element,
                              float* dweight,
                              float* partial,
                              const void* dy,
                              const void* x,
                              const float* rstd,
                              std::int64_t rows,
                              std::int64_t columns,
                              cudaStream_t stream);

void swiglu(Element element, void* y, const void* gate, const void* up, std::int64_t n, cudaStream_t stream);
void swiglu_backward(Element element,
                     void* dgate,
                     void* dup,
                     const void* dy,
                     const void* gate,
                     const void* up,
                     std::int64_t n,
                     cudaStream_t stream);

// x [batch, positions, channels], sample_ids [batch]; `shared` gives key, threshold and scale.
void dropout(Element element,
             void* y,
             const void* x,
             const std::int64_t* sample_ids,
             std::int64_t batch,
             std::int64_t positions,
             std::int64_t channels,
             const DropoutRow& shared,
             bool accumulate,
             cudaStream_t stream);

// losses [rows], logits [rows, columns]
void cross_entropy(Element element,
                   float* losses,
                   void* logits,
                   const std::int64_t* labels,
                   std::int64_t rows,
                   std::int64_t columns,
                   float scale,
                   bool write_gradient,
                   cudaStream_t stream);

}  // namespace baichuan::cuda
