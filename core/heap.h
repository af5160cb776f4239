#pragma once

namespace baichuan {

// For a process that makes and frees the same large tensors in every step: freed memory is kept for the next one
// instead of going back to the kernel, which would clear every page anew, and lies on large pages. Of use once, at the
// start; the process then holds what it held at its fullest moment. Does nothing where the C library is not glibc.
void keep_freed_memory();

}  // namespace baichuan
