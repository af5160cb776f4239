// Tests on a terminal need one: a root without /dev/pts (some containers and chroots) has none to give.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

namespace baichuan {

inline bool has_pseudo_terminals() {
  int terminal = -1;
  int program_side = -1;
  if (::openpty(&terminal, &program_side, nullptr, nullptr, nullptr) != 0) return false;
  ::close(terminal);
  ::close(program_side);
  return true;
}

}  // namespace baichuan

#define BAICHUAN_NEEDS_PSEUDO_TERMINAL() \
  if (!has_pseudo_terminals()) GTEST_SKIP() << "no pseudo-terminal can be opened here (is /dev/pts mounted?)"
