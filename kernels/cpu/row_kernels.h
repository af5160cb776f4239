// Row kernels: what the fused operations do to one row of memory, in float32 arithmetic whatever the element type.
// No LibTorch here. Each instruction set is one translation unit made of the same templates (row_kernels_impl.h);
// the best one is chosen at run time.
#pragma once

#include <cstdint>

namespace baichuan::cpu {

enum class Isa { kPortable, kAvx2, kAvx512 };
enum class Element { kFloat32, kBFloat16, kFloat16 };

// Everything that the dropout mask of a row is a function of; the channel is the remaining coordinate.
struct DropoutRow {
  std::uint32_t key[2];
  std::uint32_t position;
  std::uint32_t sample[2];  // low and high word of the global sample index
  std::uint32_t threshold;  // an element is dropped when its 32-bit draw is below
  float scale;              // 1 / (1 - p)
};

// Rows hold `n` elements of one type; pointers need only that type's alignment.
struct RowKernels {
  // Returns -log softmax(logits)[label]. With `write_gradient` the logits are replaced by
  // (softmax - onehot(label)) * scale, multiplied in float32 and rounded once.
  float (*cross_entropy)(void* logits, std::int64_t n, std::int64_t label, float scale, bool write_gradient);

  // y = weight * round(x * rstd), rstd = 1 / sqrt(mean(x^2) + eps), which is returned.
  float (*rms_norm)(void* y, const void* x, const void* weight, std::int64_t n, float eps);
  // dx = rstd * (dy w - xhat * mean(dy w xhat)); dweight (float32, may be null) += dy * round(xhat). dx may be null.
  void (*rms_norm_backward)(
      void* dx, float* dweight, const void* dy, const void* x, const void* weight, std::int64_t n, float rstd);

  // y = round(silu(gate)) * up
  void (*swiglu)(void* y, const void* gate, const void* up, std::int64_t n);
  void (*swiglu_backward)(void* dgate, void* dup, const void* dy, const void* gate, const void* up, std::int64_t n);

  // y = x * mask * scale, or y += the same.
  void (*dropout)(void* y, const void* x, std::int64_t n, const DropoutRow& row, bool accumulate);
};

// What this build and this processor both have.
Isa best_isa();
bool isa_available(Isa isa);
const RowKernels& row_kernels(Isa isa, Element element);

// The tables of the translation units: three entries each, indexed by Element.
const RowKernels* portable_row_kernels();
const RowKernels* avx2_row_kernels();
const RowKernels* avx512_row_kernels();

}  // namespace baichuan::cpu
