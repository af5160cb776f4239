// Runs of the trainer on a tiny model and a few rows, for tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "data/data_options.h"
#include "lora/lora_options.h"
#include "train/trainer.h"

namespace baichuan {

class ProcessGroup;

// A directory of its own, removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct TinyRun {
  std::filesystem::path model_directory;
  std::filesystem::path adapter_directory;  // empty: a fresh adapter
  bool full = false;
  at::ScalarType compute = at::kFloat;
  at::Device device = at::kCPU;
  std::int64_t recompute = 0;
  LoraOptions lora;
  DataOptions data;
  TrainerOptions trainer;
  // Several ranks: run by run_ranks(), each with its group. Parameters are divided then, or if `sharded` says so.
  ProcessGroup* group = nullptr;
  std::int64_t stage = 2;
  bool sharded = false;
  std::int64_t max_shard_bytes = 2'000'000'000;  // of a file of weights
  // Called with the number of micro-batches seen so far; a value other than 0 stops the run like a signal.
  std::function<int(std::int64_t micro_batches)> interrupt = [](std::int64_t) { return 0; };
};

struct TinyResult {
  int signal = 0;
  std::vector<PlannedMicroBatch> micro_batches;
  std::vector<double> micro_losses;
  std::vector<double> rates;
  std::vector<double> norms;
  std::vector<bool> skipped;
  std::vector<double> eval_losses;
  std::map<std::string, at::Tensor> weights;  // what was trained, at the end
};

// Trains the model of `directory`/model on `directory`/rows.json into `directory`/`name`, which is made.
TinyRun tiny_run(const std::filesystem::path& directory, const std::string& name);

TinyResult train(const TinyRun& run);

// A model directory with the project's own small vocabulary: 13B-shaped, 5 heads, 2 layers, hidden 40.
void write_tiny_model(const std::filesystem::path& directory, at::ScalarType dtype = at::kFloat);
// `rows` instruction rows of different lengths.
void write_tiny_rows(const std::filesystem::path& file, int rows);

}  // namespace baichuan
