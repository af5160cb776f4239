// The row kernels compiled for any processor.
#include "kernels/cpu/row_kernels_impl.h"

namespace baichuan::cpu {

const RowKernels* portable_row_kernels() {
  return kTable;
}

}  // namespace baichuan::cpu
