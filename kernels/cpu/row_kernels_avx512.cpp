// The row kernels compiled for AVX-512 F, BW, DQ and VL.
#include "kernels/cpu/row_kernels_impl.h"

namespace baichuan::cpu {

const RowKernels* avx512_row_kernels() {
  return kTable;
}

}  // namespace baichuan::cpu
