// Everything that a resumed run needs besides weights and moments: run_state.json in a checkpoint.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/json.h"
#include "train/loss_scale.h"
#include "train/step_plan.h"

namespace baichuan {

struct RunState {
  std::int64_t step = 0;              // optimiser steps done, skipped ones included
  std::int64_t updates = 0;           // without the skipped ones: what the schedule counts
  std::int64_t non_finite_steps = 0;  // skipped, with --on_non_finite skip; no loss below counts them
  DataPosition position;
  std::int64_t micro_batches_per_step = 1;  // over all ranks
  std::int64_t ranks = 1;
  double loss_since_log = 0;
  std::int64_t steps_since_log = 0;
  double loss_in_all = 0;
  double total_flos = 0;
  double elapsed_seconds = 0;
  std::int64_t samples_seen = 0;
  LossScale::State loss_scale;
  Json schedule = Json::object();
  std::vector<std::uint8_t> data_order;
};

void save_run_state(const std::filesystem::path& checkpoint,
                    const RunState& state,
                    const Json& options,
                    const std::string& data_fingerprint);

// Throws CheckpointError when the file is missing or of another kind.
RunState load_run_state(const std::filesystem::path& checkpoint);

// How many ranks have saved the checkpoint.
std::int64_t resumed_ranks(const std::filesystem::path& checkpoint);

// Micro-batches of a step, over all ranks, of a run that goes on: the checkpoint's, if the options ask for `wanted`
// only because the number of ranks has changed.
std::int64_t resumed_micro_batches_per_step(const std::filesystem::path& checkpoint,
                                            std::int64_t wanted,
                                            std::int64_t ranks);

// Compares the options of a checkpoint with those of this run, field by field. What changes the meaning of the saved
// position or moments is an error that lists every such field; other differences are warnings.
void check_resumed_options(const std::filesystem::path& checkpoint,
                           const Json& options,
                           const std::string& data_fingerprint);

}  // namespace baichuan
