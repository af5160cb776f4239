#pragma once

#include <string>
#include <vector>

namespace baichuan {

// Loads libbaichuan_engine.so (beside the program, or in ../lib as installed) and runs a command in it.
// `words` is the command and its arguments. Throws MachineError when the library cannot be loaded.
int run_in_engine(const std::vector<std::string>& words);

}  // namespace baichuan

// What the engine library exports.
extern "C" int baichuan_engine_main(int argc, const char* const* argv);
