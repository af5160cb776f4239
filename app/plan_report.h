// A plan as text and as JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/planned_run.h"
#include "core/json.h"
#include "train/disk_plan.h"
#include "train/fitting.h"
#include "train/memory_plan.h"

namespace baichuan {

struct PlanReport {
  PlannedRun run;
  MemoryPlan memory;
  std::int64_t runtime_bytes = 0;        // of libraries, beside all tensors
  std::int64_t fragmentation_bytes = 0;  // of the allocator
  StepEstimate step;
  std::optional<DiskPlan> disk;                 // none when the number of steps is not known
  std::optional<std::int64_t> free_disk_bytes;  // of --output_dir
  std::vector<Alternative> alternatives;        // when it does not fit

  std::int64_t reserve_bytes() const { return runtime_bytes + fragmentation_bytes; }
  std::int64_t total_bytes() const { return memory.allocated_bytes() + reserve_bytes(); }
  bool fits() const { return total_bytes() <= run.device.memory_bytes; }
  std::int64_t total_bytes_of(const Alternative& alternative) const;
  std::int64_t host_bytes_of_all_ranks() const;
  // Tokens without padding, over all ranks.
  double tokens_per_second() const;
};

// Reckons everything from the gathered run.
PlanReport make_plan_report(PlannedRun run, const LoggingOptions& logging);

OrderedJson plan_json(const PlanReport& report);
std::string plan_text(const PlanReport& report);

}  // namespace baichuan
