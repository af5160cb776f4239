#include "app/engine/terminal.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

#include "app/engine/interrupt.h"
#include "core/error.h"

namespace baichuan {

void write_output(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0)
      throw MachineError("standard output must take the result; found: {}; check where it leads", std::strerror(errno));
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

bool input_is_terminal() {
  return ::isatty(STDIN_FILENO) == 1;
}

bool output_is_terminal() {
  return ::isatty(STDOUT_FILENO) == 1;
}

bool wants_colours() {
  const char* const term = std::getenv("TERM");
  const char* const refused = std::getenv("NO_COLOR");
  const bool dumb = term == nullptr || std::strcmp(term, "dumb") == 0;
  return ::isatty(STDERR_FILENO) == 1 && !dumb && (refused == nullptr || *refused == '\0');
}

LineReader::Status LineReader::read(std::string& line) {
  for (;;) {
    if (interrupt_signal() != 0) {
      buffer_.clear();
      return Status::kSignal;
    }
    const auto newline = buffer_.find('\n');
    if (newline != std::string::npos || (ended_ && !buffer_.empty())) {
      line = buffer_.substr(0, newline);
      buffer_.erase(0, newline == std::string::npos ? newline : newline + 1);
      if (line.ends_with('\r')) line.pop_back();
      return Status::kLine;
    }
    if (ended_) return Status::kEnd;
    std::array<char, 4096> chunk;
    const ssize_t got = ::read(STDIN_FILENO, chunk.data(), chunk.size());
    if (got < 0 && errno != EINTR)
      throw MachineError("standard input must be readable; found: {}; check where it comes from", std::strerror(errno));
    if (got == 0) ended_ = true;
    if (got > 0) buffer_.append(chunk.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace baichuan
