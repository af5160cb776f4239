// The runs that the tests of the plan share.
#pragma once

#include <cstdint>

#include "train/run_shape.h"

namespace baichuan {

// Full training of Baichuan-13B as its README has it: 8 GPUs, stage 2, 16 bits, 4 rows, 8 micro-batches a step.
inline RunShape readme_run(std::int64_t longest = 1024) {
  RunShape run;
  run.model = preset_config("13b");
  run.sharding = Sharding::kStage2;
  run.ranks = 8;
  run.batch = 4;
  run.accumulation = 8;
  run.longest = longest;
  return run;
}

// LoRA of rank 8 on W_pack, one GPU.
inline RunShape lora_run() {
  RunShape run = readme_run();
  run.full = false;
  run.lora_targets = {"W_pack"};
  run.sharding = Sharding::kPlain;
  run.ranks = 1;
  return run;
}

}  // namespace baichuan
