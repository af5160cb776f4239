// Every operation that changes the disk announces itself here first, so that tests can stop a run at any one of
// them and see what is left. BAICHUAN_CRASH_AT=n kills the process (SIGKILL) at the n-th operation, counted from 1.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

namespace baichuan {

using FileEventHook = std::function<void(std::string_view operation, const std::filesystem::path& path)>;

// Replaces what happens at each announcement (tests: record, throw as a full disk would, kill). An empty hook
// brings BAICHUAN_CRASH_AT back, counted anew. Not while another thread writes files.
void set_file_event_hook(FileEventHook hook);

// `operation`: "create", "write", "sync", "rename", "link", "remove".
void announce_file_event(std::string_view operation, const std::filesystem::path& path);

}  // namespace baichuan
