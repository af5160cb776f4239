// What decides how much memory, disk, communication and time a training run takes: the model's sizes and a few
// numbers, without a tensor. `plan` and the choice of recomputed layers reckon from it (memory_terms.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/baichuan_config.h"

namespace baichuan {

// Who holds the optimiser's state.
enum class Sharding {
  kPlain = -1,  // one process, whole parameters: train/optimizer.h
  kStage0 = 0,  // every rank holds everything; gradients are all-reduced
  kStage1 = 1,  // masters and moments are sliced over the ranks
  kStage2 = 2,  // gradients too
};

struct RunShape {
  BaichuanConfig model;

  bool full = true;                       // else LoRA: the model is frozen and only adapters train
  std::int64_t lora_rank = 8;             // LoRA only
  std::vector<std::string> lora_targets;  // LoRA only: names of projections

  std::int64_t compute_bytes = 2;  // of an element of activations (and of trained weights in the full model)
  std::int64_t frozen_bytes = 2;   // of an element of frozen weights, LoRA only
  std::int64_t stored_bytes = 2;   // of an element of the final model on disk
  bool on_gpu = true;
  bool official_alibi = false;  // attention by plain operations: the flash kernels do not serve that mode

  Sharding sharding = Sharding::kStage2;
  bool deterministic_reduce = false;       // reduces after every micro-batch in every stage
  std::optional<std::int64_t> wire_bytes;  // of an element of gradients that travel; unset: of trained weights
  std::int64_t ranks = 1;
  std::int64_t batch = 1;         // rows of a micro-batch
  std::int64_t eval_batch = 0;    // rows of an evaluation batch; 0: no evaluation
  std::int64_t accumulation = 1;  // micro-batches of a step
  std::int64_t longest = 1024;    // tokens of the longest row: a micro-batch is padded to it
  std::int64_t recomputed_layers = 0;

  std::int64_t tokens() const { return batch * longest; }  // of the largest micro-batch
};

}  // namespace baichuan
