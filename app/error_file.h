// What a rank leaves for the process that started it: torchelastic names a file in TORCHELASTIC_ERROR_FILE and shows
// what it finds there, and so does our own launcher.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace baichuan {

inline constexpr const char* kErrorFileVariable = "TORCHELASTIC_ERROR_FILE";

// Writes torchelastic's JSON to the file that the environment names, complete or not at all. False when none is named
// or it cannot be written: the error itself matters more than its file.
bool write_error_file(const std::string& message);

// The message in such a file; empty when there is none, or something else.
std::optional<std::string> read_error_file(const std::filesystem::path& path);

}  // namespace baichuan
