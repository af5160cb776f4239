// The implementations behind causal_attention.h. q [B, H, T, K]; k, v [B, H, S, K] with S = past + T, any strides with
// dense rows; query t sees keys 0 … past + t.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/causal_attention.h"

namespace baichuan {

// What a forward pass leaves for its backward pass.
struct AttentionResult {
  at::Tensor out;                 // [B, T, H, K]
  at::Tensor logsumexp;           // [B, H, T] float32; undefined where the backward pass does not need it
  std::vector<at::Tensor> state;  // of the CUDA kernel's random generator
};

// ---- flash kernels of the CPU (flash_attention_cpu.cpp)
bool flash_serves_cpu(const at::Tensor& q, const Positions& positions);
AttentionResult flash_forward_cpu(const at::Tensor& q,
                                  const at::Tensor& k,
                                  const at::Tensor& v,
                                  const Positions& positions);
// Gradients of self-attention (past = 0) into dq, dk, dv [B, H, T, K], which are overwritten.
void flash_backward_cpu(const at::Tensor& dout,
                        const at::Tensor& q,
                        const at::Tensor& k,
                        const at::Tensor& v,
                        const AttentionResult& result,
                        const Positions& positions,
                        at::Tensor dq,
                        at::Tensor dk,
                        at::Tensor dv);

// ---- flash kernels of CUDA, bfloat16 and float16 (flash_attention_cuda.cpp)
bool flash_serves_cuda(const at::Tensor& q, const Positions& positions);
AttentionResult flash_forward_cuda(const at::Tensor& q,
                                   const at::Tensor& k,
                                   const at::Tensor& v,
                                   const Positions& positions);
void flash_backward_cuda(const at::Tensor& dout,
                         const at::Tensor& q,
                         const at::Tensor& k,
                         const at::Tensor& v,
                         const AttentionResult& result,
                         const Positions& positions,
                         at::Tensor dq,
                         at::Tensor dk,
                         at::Tensor dv);
// q, k and v with the columns of ALiBi's fold (alibi.h), [B, H, *, K + kFoldColumns]; v gets zeros.
struct FoldedInputs {
  at::Tensor q, k, v;
};
FoldedInputs fold_alibi(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Positions& positions);

// ---- plain operations, queries in chunks (plain_attention.cpp): AlibiMode::kOfficial, and where no flash kernel
// serves
AttentionResult plain_forward(const at::Tensor& q,
                              const at::Tensor& k,
                              const at::Tensor& v,
                              const Positions& positions);
void plain_backward(const at::Tensor& dout,
                    const at::Tensor& q,
                    const at::Tensor& k,
                    const at::Tensor& v,
                    const Positions& positions,
                    at::Tensor dq,
                    at::Tensor dk,
                    at::Tensor dv);

}  // namespace baichuan
