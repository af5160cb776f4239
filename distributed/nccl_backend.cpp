#include "distributed/nccl_backend.h"

#include <filesystem>

#include <dlfcn.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "core/error.h"

namespace baichuan {

namespace {

namespace fs = std::filesystem;

// Beside the library or program that holds this code, or in its ../lib.
NcclEntry load_entry() {
  Dl_info here{};
  ::dladdr(reinterpret_cast<const void*>(&make_nccl_backend), &here);
  const fs::path folder = fs::path(here.dli_fname).parent_path();
  std::string failure = "none beside " + folder.string();
  for (const auto& path : {folder / "libbaichuan_nccl.so", folder.parent_path() / "lib/libbaichuan_nccl.so"}) {
    if (!fs::exists(path)) continue;
    void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    void* const entry = library == nullptr ? nullptr : ::dlsym(library, kNcclEntry);
    if (entry != nullptr) return reinterpret_cast<NcclEntry>(entry);
    failure = ::dlerror();
  }
  throw MachineError(
      "training over several GPUs needs libbaichuan_nccl.so, built where nvcc and nccl.h are; found {}; "
      "build with the preset cuda",
      failure);
}

}  // namespace

c10::intrusive_ptr<c10d::Backend> make_nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    std::int64_t rank,
                                                    std::int64_t size,
                                                    c10::Device device,
                                                    std::chrono::milliseconds timeout) {
  static const NcclEntry entry = load_entry();
  try {
    return c10::intrusive_ptr<c10d::Backend>::reclaim(
        entry(store.get(), static_cast<int>(rank), static_cast<int>(size), device.index(), timeout.count()));
  } catch (const c10::Error& error) {
    throw MachineError("rank {}: expected NCCL to connect {} GPUs; found: {}; NCCL_DEBUG=INFO says more", rank, size,
                       error.what_without_backtrace());
  }
}

}  // namespace baichuan
