// NCCL between GPUs. Its code is in a library of its own (libbaichuan_nccl.so), because ProcessGroupNCCL comes with
// libtorch_cuda, which is loaded only on machines with a GPU.
#pragma once

#include <chrono>
#include <cstdint>

#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace baichuan {

// Throws MachineError when the library is missing or the ranks do not come together. load_cuda() comes first.
c10::intrusive_ptr<c10d::Backend> make_nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    std::int64_t rank,
                                                    std::int64_t size,
                                                    c10::Device device,
                                                    std::chrono::milliseconds timeout);

// The library's one symbol.
inline constexpr const char* kNcclEntry = "baichuan_make_nccl_backend";
using NcclEntry = c10d::Backend* (*)(c10d::Store* store, int rank, int size, int device, std::int64_t timeout_ms);

}  // namespace baichuan
