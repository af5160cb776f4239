// What to change when a run does not fit its device.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/accelerators.h"
#include "train/run_shape.h"

namespace baichuan {

struct Alternative {
  std::string change;                // the flags or keys to set
  std::int64_t allocated_bytes = 0;  // of a rank, with that change
  std::int64_t recomputed_layers = 0;
  bool built = true;  // else it is what a part that is not built yet would do
};

// Changes with each of which the run fits, the gentlest first; each with as few recomputed layers as it needs. Empty
// when nothing that is known helps.
std::vector<Alternative> what_fits(const RunShape& run, const Accelerator& device);

// Device memory of a rank under what is not built yet. Stage 3: all state sliced, two units gathered. Offload: masters
// and moments in the host's memory, stage 2 otherwise.
std::int64_t stage3_state_bytes(const RunShape& run);
std::int64_t offload_state_bytes(const RunShape& run);

}  // namespace baichuan
