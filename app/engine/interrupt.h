// SIGINT and SIGTERM ask a running command to stop; a second signal stops it at once.
#pragma once

#include <atomic>

namespace baichuan {

// Installs the handlers; call once, before long work starts.
void install_interrupt_handlers();

// 0, or the number of the signal that asked to stop. A signal that reaches the program twice within a moment (sent to
// the launcher and to the process group) counts once.
const std::atomic<int>& interrupt_signal();

// The signal has been answered: the next one counts as the first.
void clear_interrupt();

// 130 for SIGINT, 143 for SIGTERM.
int interrupt_exit_status(int signal);

}  // namespace baichuan
