#include "app/plan_report.h"

#include "core/files.h"
#include "train/memory_terms.h"

namespace baichuan {

std::int64_t PlanReport::host_bytes_of_all_ranks() const {
  return run.shape.ranks * (run.device.is_gpu() ? host_bytes(run.shape) : total_bytes());
}

std::int64_t PlanReport::total_bytes_of(const Alternative& alternative) const {
  return alternative.allocated_bytes + runtime_bytes +
         baichuan::fragmentation_bytes(run.device, alternative.allocated_bytes);
}

double PlanReport::tokens_per_second() const {
  const double rows = static_cast<double>(run.shape.ranks * run.shape.batch * run.shape.accumulation);
  return rows * run.rows.mean_tokens / step.step_seconds();
}

PlanReport make_plan_report(PlannedRun run, const LoggingOptions& logging) {
  PlanReport report;
  report.run = std::move(run);
  const RunShape& shape = report.run.shape;
  const Accelerator& device = report.run.device;
  report.memory = plan_memory(shape);
  report.runtime_bytes = runtime_bytes(device, shape.ranks);
  report.fragmentation_bytes = fragmentation_bytes(device, report.memory.allocated_bytes());
  report.step = estimate_step(shape, report.run.rows, device);
  if (const auto& steps = report.run.steps)
    report.disk = plan_disk(shape, logging, steps->max_steps, steps->steps_per_epoch);
  if (!logging.output_dir.empty())
    report.free_disk_bytes = static_cast<std::int64_t>(free_disk_bytes(logging.output_dir));
  if (!report.fits()) report.alternatives = what_fits(shape, device);
  return report;
}

namespace {

const char* sharding_name(Sharding sharding) {
  switch (sharding) {
    case Sharding::kPlain:
      return "none";
    case Sharding::kStage0:
      return "stage 0";
    case Sharding::kStage1:
      return "stage 1";
    case Sharding::kStage2:
      return "stage 2";
  }
  return "";
}

OrderedJson memory_json(const PlanReport& r) {
  const MemoryPlan& m = r.memory;
  return {{"weights_bytes", m.weights},
          {"gradients_bytes", m.gradients},
          {"masters_bytes", m.masters},
          {"moments_bytes", m.moments},
          {"buckets_bytes", m.wire_buffers},
          {"activations_bytes", m.activations},
          {"logits_bytes", m.loss},
          {"working_bytes", m.working},
          {"reserve_bytes", r.reserve_bytes()},
          {"total_bytes", r.total_bytes()},
          {"device_bytes", r.run.device.memory_bytes},
          {"peak", peak_moment_text(m.peak)},
          {"fits", r.fits()}};
}

OrderedJson disk_json(const PlanReport& r) {
  OrderedJson disk{{"checkpoint_bytes", checkpoint_bytes(r.run.shape)},
                   {"final_model_bytes", final_model_bytes(r.run.shape)}};
  if (r.disk) {
    disk["checkpoints_written"] = r.disk->written;
    disk["checkpoints_kept"] = r.disk->kept;
    disk["total_bytes"] = r.disk->total_bytes();
  }
  if (r.free_disk_bytes) disk["free_bytes"] = *r.free_disk_bytes;
  return disk;
}

OrderedJson time_json(const PlanReport& r) {
  OrderedJson time{{"step_seconds", r.step.step_seconds()},
                   {"compute_seconds", r.step.compute_seconds},
                   {"exposed_communication_seconds", r.step.exposed_seconds},
                   {"optimizer_seconds", r.step.optimizer_seconds},
                   {"tokens_per_second", r.tokens_per_second()}};
  if (r.run.steps) {
    time["steps"] = r.run.steps->max_steps;
    time["total_seconds"] = static_cast<double>(r.run.steps->max_steps) * r.step.step_seconds();
  }
  return time;
}

OrderedJson alternatives_json(const PlanReport& r) {
  OrderedJson list = OrderedJson::array();
  for (const auto& a : r.alternatives)
    list.push_back({{"change", a.change},
                    {"total_bytes", r.total_bytes_of(a)},
                    {"recompute_layers", a.recomputed_layers},
                    {"built", a.built}});
  return list;
}

}  // namespace

OrderedJson plan_json(const PlanReport& r) {
  const RunShape& s = r.run.shape;
  OrderedJson data = nullptr;
  if (r.run.data)
    data = {{"train_rows", r.run.data->train_rows},
            {"eval_rows", r.run.data->eval_rows},
            {"mean_tokens", r.run.rows.mean_tokens},
            {"mean_padded_tokens", r.run.rows.mean_padded_tokens}};
  return {{"model",
           {{"name", r.run.model_name},
            {"parameters", s.model.num_parameters()},
            {"layers", s.model.num_layers},
            {"downloaded", r.run.model_is_here}}},
          {"run",
           {{"finetuning_type", s.full ? "full" : "lora"},
            {"trained_parameters", trained_elements(s)},
            {"compute_bytes", s.compute_bytes},
            {"sharding", sharding_name(s.sharding)},
            {"ranks", s.ranks},
            {"per_device_train_batch_size", s.batch},
            {"gradient_accumulation_steps", s.accumulation},
            {"longest_row_tokens", s.longest},
            {"recompute_layers", s.recomputed_layers}}},
          {"device", {{"name", r.run.device.name}, {"memory_bytes", r.run.device.memory_bytes}}},
          {"data", data},
          {"memory", memory_json(r)},
          {"host_memory", {{"total_bytes", r.host_bytes_of_all_ranks()}}},
          {"disk", disk_json(r)},
          {"communication",
           {{"bytes_per_step", communication_bytes_per_step(s)}, {"seconds_per_step", r.step.communication_seconds}}},
          {"time", time_json(r)},
          {"alternatives", alternatives_json(r)},
          {"notes", r.run.notes}};
}

}  // namespace baichuan
