#include "app/plan_options.h"

#include "core/error.h"

namespace baichuan {

void PlanCommandOptions::add_to(OptionTable& table) {
  table.add("Plan", plan);
  train.add_to(table);
  // A plan may be for more ranks than `train` can start.
  for (const char* const name : {"num_gpus", "num_processes"}) table.find(name)->info.support = Support::kBuilt;
}

void PlanCommandOptions::validate(const OptionTable& table) {
  // The rules of `train`, but for what a run needs and a plan does not.
  TrainCommandOptions run = train;
  run.finetuning.do_train = true;
  if (run.logging.output_dir.empty()) run.logging.output_dir.assign(1, '.');
  run.validate(table);
  if (table.given("num_gpus") && table.given("num_processes"))
    throw UsageError("--num_gpus and --num_processes exclude each other; give the one that the run is started with");
  if (plan.gpu == "cpu" && table.given("num_gpus"))
    throw UsageError("--gpu cpu goes with --num_processes; found --num_gpus; give --num_processes");
  if (plan.gpu && *plan.gpu != "cpu" && table.given("num_processes"))
    throw UsageError("--num_processes is for processors; found --gpu {}; give --num_gpus", *plan.gpu);
}

}  // namespace baichuan
