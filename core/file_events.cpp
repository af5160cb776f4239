#include "core/file_events.h"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <utility>

namespace baichuan {

namespace {

FileEventHook crash_at_from_environment() {
  const char* const text = std::getenv("BAICHUAN_CRASH_AT");
  const long at = text == nullptr ? 0 : std::strtol(text, nullptr, 10);
  if (at <= 0) return {};
  return [at, count = std::make_shared<std::atomic<long>>(0)](std::string_view, const std::filesystem::path&) {
    if (++*count == at) std::raise(SIGKILL);
  };
}

FileEventHook& installed_hook() {
  static FileEventHook hook = crash_at_from_environment();
  return hook;
}

}  // namespace

void set_file_event_hook(FileEventHook hook) {
  installed_hook() = hook ? std::move(hook) : crash_at_from_environment();
}

void announce_file_event(std::string_view operation, const std::filesystem::path& path) {
  if (const FileEventHook& hook = installed_hook()) hook(operation, path);
}

}  // namespace baichuan
