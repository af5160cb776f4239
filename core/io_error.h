// Failures of the disk, told in one way.
#pragma once

#include <filesystem>

namespace baichuan {

// "cannot write /a/b: No space left on device; free some disk space or choose another folder", as MachineError. Reads
// errno: call it before anything else does something.
[[noreturn]] void throw_io_error(const char* action, const std::filesystem::path& path);

}  // namespace baichuan
