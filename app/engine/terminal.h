// Standard input and output as a conversation needs them: whole writes, lines that a signal may interrupt.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace baichuan {

// Writes all of `text` to standard output; throws MachineError when that fails.
void write_output(std::string_view text);

bool input_is_terminal();
bool output_is_terminal();
// Colours for what is written to standard error: it is a terminal, TERM is not "dumb" and NO_COLOR is not set.
bool wants_colours();

// Lines of standard input. Not std::cin, which begins a read again after a signal: Ctrl-C would not be seen.
class LineReader {
 public:
  enum class Status { kLine, kEnd, kSignal };
  // kSignal: SIGINT or SIGTERM came; what was typed so far is forgotten. Throws MachineError when reading fails.
  Status read(std::string& line);

 private:
  std::string buffer_;
  bool ended_ = false;
};

}  // namespace baichuan
