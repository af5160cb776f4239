#include "core/heap.h"

#ifdef __GLIBC__
#include <cstdint>
#include <cstdlib>

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace baichuan {

void keep_freed_memory() {
#ifdef __GLIBC__
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, -1);
  // Address space at the end of the heap, marked for large pages before anything is written to it, and given back at
  // once: it takes no memory until it is used.
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto machine = static_cast<std::uintptr_t>(::sysconf(_SC_PHYS_PAGES)) * page;
  const std::uintptr_t bytes = machine / 4 * 3;
  void* const reserve = std::malloc(bytes);
  if (reserve == nullptr) return;
  const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(reserve) + page - 1) / page * page;
  const std::uintptr_t end = (reinterpret_cast<std::uintptr_t>(reserve) + bytes) / page * page;
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  std::free(reserve);
#endif
}

}  // namespace baichuan
