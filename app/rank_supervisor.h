// The launcher of local ranks: starts them, forwards signals, and sees to it that a rank's death ends them all.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "app/rank_process.h"

namespace baichuan {

// What is found once the ranks of a failed run are gone.
struct Aftermath {
  std::string advice;          // how to go on: "go on with --resume_from_checkpoint latest"
  bool nothing_begun = false;  // the ranks died before they changed anything: the next ones are as the first
};

struct SupervisedRun {
  RankCommand command;
  std::int64_t ranks = 2;
  std::int64_t max_restarts = 0;
  std::function<Aftermath()> after_failure;
  // How long the other ranks may still say what they have met. They get no SIGTERM, which would ask them for a
  // checkpoint that one of them is missing from.
  std::chrono::milliseconds grace{3000};
};

// Runs the ranks to their end; 0, or 128 + signal when they stopped because of one (130, 143).
//   - SIGINT and SIGTERM are forwarded to every rank once; a second one kills them all.
//   - A rank that dies, by a signal or with any other status, ends the others after the grace. Then all are started
//     again, max_restarts times, with a store and a run id of their own; never after wrong usage or a signal.
// Throws UsageError when a rank has found the usage wrong, and MachineError naming the first rank that died and its
// last words, or with the words alone if all ranks have said the same.
int supervise_ranks(const SupervisedRun& run);

}  // namespace baichuan
