#include "tests/train/tiny_run.h"

#include <cstdlib>

#include <torch/torch.h>

#include "core/files.h"
#include "data/sft_dataset.h"
#include "data/tokenizer.h"
#include "distributed/process_group.h"
#include "io/checkpoint_reader.h"
#include "io/checkpoint_writer.h"
#include "lora/adapter.h"
#include "model/load_weights.h"
#include "train/shard_model.h"
#include "train/trained_weights.h"

namespace baichuan {

namespace {

class Recorder : public TrainerObserver {
 public:
  explicit Recorder(TinyResult& result) : result_(result) {}
  void on_micro_batch(const PlannedMicroBatch& micro, double loss) override {
    result_.micro_batches.push_back(micro);
    result_.micro_losses.push_back(loss);
  }
  void on_step(std::int64_t, double rate, const TrainStepResult& step) override {
    result_.rates.push_back(rate);
    result_.norms.push_back(step.grad_norm);
    result_.skipped.push_back(step.skipped);
  }
  void on_evaluation(std::int64_t, double loss) override { result_.eval_losses.push_back(loss); }

 private:
  TinyResult& result_;
};

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "train_test_XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}

TemporaryDirectory::~TemporaryDirectory() {
  remove_quietly(path_);
}

TinyRun tiny_run(const std::filesystem::path& directory, const std::string& name) {
  TinyRun run;
  run.model_directory = directory / "model";
  run.data.dataset = (directory / "rows.json").string();
  run.data.template_name = "baichuan";
  run.data.dataset_cache_dir = (directory / "cache").string();
  run.trainer.logging.output_dir = (directory / name).string();
  std::filesystem::create_directories(run.trainer.logging.output_dir);
  return run;
}

TinyResult train(const TinyRun& run) {
  TinyResult result;
  const Tokenizer tokenizer(run.model_directory);
  const auto rows = prepare_sft(run.data, tokenizer, run.trainer.seed);
  LoadOptions load;
  load.device = run.device;
  if (run.full || run.compute != at::kFloat) load.dtype = run.compute;
  const auto model = load_model(run.model_directory, load);
  model->set_compute_dtype(run.compute);
  model->set_recompute_layers(run.recompute);
  for (auto& parameter : model->parameters()) parameter.requires_grad_(run.full);
  std::optional<LoraAdapter> adapter;
  if (!run.full) {
    adapter = run.adapter_directory.empty()
                  ? LoraAdapter::attach(*model, run.lora, run.trainer.seed)
                  : LoraAdapter::load_all(*model, std::vector{run.adapter_directory}, run.lora.lora_dropout);
  }
  std::map<std::string, at::ScalarType> dtypes;
  const auto stored = CheckpointReader::open(run.model_directory);
  for (const auto& spec : stored.tensors()) dtypes[spec.name] = spec.dtype;
  const auto weights = adapter ? make_adapter_weights(*adapter, run.model_directory.string())
                               : make_model_weights(*model, run.model_directory, dtypes, run.max_shard_bytes);
  Recorder recorder(result);
  TrainerHooks hooks;
  hooks.observer = &recorder;
  std::int64_t asked = 0;
  hooks.interrupt_signal = [&] { return run.interrupt(asked++); };
  TrainerInputs inputs{
      *model, adapter ? &*adapter : nullptr, *weights, rows.train, rows.eval.empty() ? nullptr : &rows.eval, {}};
  if (run.full && run.compute != at::kFloat) inputs.exact_weights = run.model_directory;
  inputs.group = run.group;
  if (run.group != nullptr) inputs.disks = SharedDisks::find(*run.group, run.trainer.logging.output_dir);
  const auto solo = make_solo_group();
  std::unique_ptr<ShardedParameters> sharded;
  if (run.sharded || (run.group != nullptr && run.group->size() > 1)) {
    const ShardingOptions sharding{run.stage, run.trainer.deterministic_reduce || run.stage == 2};
    sharded = shard_model(*model, weights->parameters(), run.group == nullptr ? *solo : *run.group, sharding);
  }
  inputs.sharded = sharded.get();
  TrainerOptions options = run.trainer;
  options.data_fingerprint = rows.fingerprint;
  options.finetuning.do_train = true;
  {
    Trainer trainer(inputs, options, hooks);
    result.signal = trainer.train();
  }
  for (const auto& [name, tensor] : weights->parameters())
    result.weights[name] = tensor.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
  return result;
}

void write_tiny_model(const std::filesystem::path& directory, at::ScalarType dtype) {
  std::filesystem::create_directories(directory);
  // A bundle for a machine with a GPU carries the file (tools/gpu_bundle).
  const char* const carried = std::getenv("BAICHUAN_TEST_SOURCE_DIR");
  const std::filesystem::path source = carried != nullptr ? carried : BAICHUAN_SOURCE_DIR;
  std::filesystem::copy_file(source / "configs/quickstart/tokenizer.model", directory / "tokenizer.model",
                             std::filesystem::copy_options::overwrite_existing);
  const Tokenizer tokenizer(directory);
  Json config = {{"architectures", {"BaichuanForCausalLM"}},
                 {"model_type", "baichuan"},
                 {"vocab_size", tokenizer.vocab_size()},
                 {"hidden_size", 40},
                 {"intermediate_size", 56},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", 5},
                 {"model_max_length", 512},
                 {"rms_norm_eps", 1e-6},
                 {"initializer_range", 0.02},
                 {"hidden_act", "silu"}};
  write_json_file(directory / "config.json", config);
  BaichuanForCausalLM model(load_baichuan_config(directory), at::TensorOptions().dtype(at::kFloat));
  init_weights(model, /*seed=*/7, /*std=*/0.1);
  std::vector<TensorSpec> specs;
  for (const auto& named : model.named_parameters()) specs.push_back({named.key(), dtype, named.value().sizes().vec()});
  CheckpointWriter writer(directory, specs, {});
  for (const auto& named : model.named_parameters()) writer.write(named.key(), named.value());
  writer.finish();
}

void write_tiny_rows(const std::filesystem::path& file, int rows) {
  Json list = Json::array();
  for (int i = 0; i < rows; ++i) {
    std::string answer = "It is number " + std::to_string(i) + ".";
    for (int k = 0; k < i % 5; ++k) answer += " 再说一遍。";
    list.push_back({{"instruction", "Which number is this?"},
                    {"input", std::string(static_cast<std::size_t>(i % 7 + 1), 'x')},
                    {"output", answer}});
  }
  write_json_file(file, list);
}

}  // namespace baichuan
