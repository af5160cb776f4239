// `baichuan plan`: what a training run needs, before anything is loaded.
#include <cstdio>

#include "app/plan_options.h"
#include "app/plan_report.h"
#include "core/error.h"
#include "core/log.h"

namespace baichuan {

int run_plan(const PlanCommandOptions& options, const OptionTable& table) {
  log::set_level(log::parse_level(options.train.run.log_level));
  const PlanReport report = make_plan_report(gather_planned_run(options, table), options.train.logging);
  if (options.plan.json)
    fmt::print("{}\n", to_json_line(plan_json(report)));
  else
    fmt::print("{}", plan_text(report));
  if (std::fflush(stdout) != 0) throw MachineError("cannot write to standard output; is the disk full?");
  return 0;
}

}  // namespace baichuan
