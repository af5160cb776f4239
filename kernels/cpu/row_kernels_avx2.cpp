// The row kernels compiled for AVX2, FMA and F16C.
#include "kernels/cpu/row_kernels_impl.h"

namespace baichuan::cpu {

const RowKernels* avx2_row_kernels() {
  return kTable;
}

}  // namespace baichuan::cpu
