// A plan for people.
#include <cmath>

#include <fmt/format.h>

#include "app/plan_report.h"
#include "train/memory_terms.h"

namespace baichuan {

namespace {

constexpr double kGigabyte = 1e9;

double gigabytes(std::int64_t bytes) {
  return static_cast<double>(bytes) / kGigabyte;
}

// 1234567 -> "1,234,567"
std::string grouped(std::int64_t count) {
  const std::string digits = std::to_string(count);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string duration(double seconds) {
  if (seconds < 120) return fmt::format("{:.1f} s", seconds);
  const auto minutes = std::llround(seconds / 60);
  return minutes < 120 ? fmt::format("{} min", minutes) : fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
}

std::string title(const PlanReport& r) {
  const RunShape& s = r.run.shape;
  const char* const type = s.compute_bytes == 2 ? "16 bits" : "float32";
  std::string text =
      fmt::format("{}: {} parameters, {} trained ({}), computing in {}\n", r.run.model_name,
                  grouped(s.model.num_parameters()), grouped(trained_elements(s)), s.full ? "full" : "LoRA", type);
  const std::string stage =
      s.sharding == Sharding::kPlain ? "" : fmt::format(", ZeRO stage {}", static_cast<int>(s.sharding));
  text += fmt::format("{} x {}{}; a step is {} x {} micro-batches of {} rows, the longest of {} tokens\n", s.ranks,
                      r.run.device.title, stage, s.ranks, s.accumulation, s.batch, grouped(s.longest));
  return text;
}

std::string memory_table(const PlanReport& r) {
  const MemoryPlan& m = r.memory;
  const RunShape& s = r.run.shape;
  std::string text = "\nmemory of a rank, GB (10^9 bytes)\n";
  const auto row = [&](const char* name, std::int64_t bytes, const std::string& remark) {
    text += fmt::format("  {:<12}{:>9.2f}  {}\n", name, gigabytes(bytes), remark);
  };
  // What only some runs or moments have is left out of the others.
  const auto row_if_any = [&](const char* name, std::int64_t bytes, const std::string& remark) {
    if (bytes > 0) row(name, bytes, remark);
  };
  row("weights", m.weights, s.full ? "in the compute type" : "frozen model, float32 adapters");
  row("gradients", m.gradients, "float32");
  row("masters", m.masters, m.masters == 0 ? "the weights themselves" : "float32");
  row("moments", m.moments, "float32");
  row_if_any("buckets", m.wire_buffers, "gradients on their way to other ranks");
  row("activations", m.activations,
      fmt::format("kept for the backward pass; {} of {} layers recomputed", s.recomputed_layers, s.model.num_layers));
  row_if_any("logits", m.loss, "a chunk of them, and the gradients made with the loss");
  row_if_any("working", m.working, "what is made and dropped at that moment");
  row("reserve", r.reserve_bytes(), "runtime libraries, allocator");
  const double left = gigabytes(r.run.device.memory_bytes - r.total_bytes());
  row("total", r.total_bytes(),
      fmt::format("of {:.2f}: {}, {:.2f} {}; fullest {}", gigabytes(r.run.device.memory_bytes),
                  r.fits() ? "fits" : "DOES NOT FIT", std::abs(left), r.fits() ? "left" : "too much",
                  peak_moment_text(m.peak)));
  return text;
}

std::string alternatives_list(const PlanReport& r) {
  if (r.fits()) return "";
  if (r.alternatives.empty())
    return "\nnothing makes it fit: not a smaller batch, shorter rows, another stage or more ranks; take a smaller "
           "model\n";
  std::string text = "\nwhat fits, one change at a time\n";
  for (const auto& a : r.alternatives)
    text += fmt::format("  {:<70} {:>7.2f} GB, {} layers recomputed{}\n", a.change, gigabytes(r.total_bytes_of(a)),
                        a.recomputed_layers, a.built ? "" : " (not built yet)");
  return text;
}

std::string disk_line(const PlanReport& r) {
  const double checkpoint = gigabytes(checkpoint_bytes(r.run.shape));
  const double final_model = gigabytes(final_model_bytes(r.run.shape));
  if (!r.disk) return fmt::format("disk     {:.2f} GB a checkpoint, {:.2f} GB the result\n", checkpoint, final_model);
  std::string text =
      fmt::format("disk     {:.2f} GB: {} checkpoints of {:.2f} GB ({} are written) and the result of {:.2f} GB\n",
                  gigabytes(r.disk->total_bytes()), r.disk->kept, checkpoint, r.disk->written, final_model);
  if (r.free_disk_bytes)
    text +=
        fmt::format("         {:.2f} GB are free at --output_dir{}\n", gigabytes(*r.free_disk_bytes),
                    *r.free_disk_bytes < r.disk->total_bytes() ? ": NOT ENOUGH; --save_total_limit keeps fewer" : "");
  return text;
}

std::string time_lines(const PlanReport& r) {
  const StepEstimate& s = r.step;
  std::string text;
  if (r.run.shape.ranks > 1)
    text += fmt::format("network  {:.2f} GB sent by each rank in a step, {} of which {} are not hidden\n",
                        gigabytes(communication_bytes_per_step(r.run.shape)), duration(s.communication_seconds),
                        duration(s.exposed_seconds));
  text += fmt::format("time     about {} a step, {} tokens per second", duration(s.step_seconds()),
                      grouped(std::llround(r.tokens_per_second())));
  if (r.run.steps)
    text += fmt::format("; {} steps: {}", grouped(r.run.steps->max_steps),
                        duration(static_cast<double>(r.run.steps->max_steps) * s.step_seconds()));
  text += "\n";
  if (r.run.data)
    text += fmt::format("data     {} rows to train on, {} to evaluate; {:.0f} tokens a row, {:.0f} with padding\n",
                        grouped(r.run.data->train_rows), grouped(r.run.data->eval_rows), r.run.rows.mean_tokens,
                        r.run.rows.mean_padded_tokens);
  return text;
}

}  // namespace

std::string plan_text(const PlanReport& r) {
  std::string text = title(r) + memory_table(r) + alternatives_list(r);
  text += fmt::format("\nhost     {:.2f} GB of memory for all ranks\n", gigabytes(r.host_bytes_of_all_ranks()));
  text += disk_line(r) + time_lines(r);
  if (!r.run.notes.empty()) text += "\n";
  for (const auto& note : r.run.notes) text += fmt::format("note: {}\n", note);
  return text;
}

}  // namespace baichuan
