#include "app/engine_library.h"

#include <filesystem>

#include <dlfcn.h>

#include "core/error.h"

namespace baichuan {

int run_in_engine(const std::vector<std::string>& words) {
  const auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  void* library = nullptr;
  std::string failures;
  for (const auto& folder : {program, program.parent_path() / "lib"}) {
    const auto path = folder / "libbaichuan_engine.so";
    if (!std::filesystem::exists(path)) continue;
    library = ::dlopen(path.c_str(), RTLD_LAZY | RTLD_GLOBAL);
    if (library != nullptr) break;
    failures += fmt::format("; {}", ::dlerror());
  }
  if (library == nullptr)
    throw MachineError("expected libbaichuan_engine.so beside {} or in its ../lib{}; build or install again",
                       program.string(), failures.empty() ? "; found none" : failures);
  auto* const entry = reinterpret_cast<decltype(&baichuan_engine_main)>(::dlsym(library, "baichuan_engine_main"));
  if (entry == nullptr) throw MachineError("libbaichuan_engine.so has no entry point; build or install again");
  std::vector<const char*> argv;
  for (const auto& word : words) argv.push_back(word.c_str());
  return entry(static_cast<int>(argv.size()), argv.data());
}

}  // namespace baichuan
