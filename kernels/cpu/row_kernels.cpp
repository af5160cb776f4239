#include "kernels/cpu/row_kernels.h"

namespace baichuan::cpu {

bool isa_available(Isa isa) {
#if defined(BAICHUAN_X86_KERNELS)
  switch (isa) {
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    case Isa::kPortable:
      return true;
  }
#endif
  return isa == Isa::kPortable;
}

Isa best_isa() {
  static const Isa best = isa_available(Isa::kAvx512) ? Isa::kAvx512
                          : isa_available(Isa::kAvx2) ? Isa::kAvx2
                                                      : Isa::kPortable;
  return best;
}

const RowKernels& row_kernels(Isa isa, Element element) {
  const RowKernels* table = portable_row_kernels();
#if defined(BAICHUAN_X86_KERNELS)
  if (isa == Isa::kAvx512) table = avx512_row_kernels();
  if (isa == Isa::kAvx2) table = avx2_row_kernels();
#else
  static_cast<void>(isa);
#endif
  return table[static_cast<int>(element)];
}

}  // namespace baichuan::cpu
