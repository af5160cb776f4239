#include "train/trained_weights.h"

#include <torch/torch.h>

#include "core/error.h"
#include "core/json.h"
#include "io/checkpoint_reader.h"
#include "io/checkpoint_writer.h"
#include "io/model_files.h"
#include "lora/adapter.h"
#include "model/baichuan_for_causal_lm.h"
#include "model/load_weights.h"

namespace baichuan {

namespace {

constexpr const char* kOptimizerFile = "optimizer.safetensors";

std::uint64_t bytes_of(const at::Tensor& tensor) {
  return tensor.nbytes();
}

std::string dtype_name(at::ScalarType type) {
  switch (type) {
    case at::kHalf:
      return "float16";
    case at::kBFloat16:
      return "bfloat16";
    default:
      return "float32";
  }
}

class AdapterWeights : public TrainedWeights {
 public:
  AdapterWeights(LoraAdapter& adapter, std::string base_name) : adapter_(adapter), base_name_(std::move(base_name)) {}

  std::vector<std::pair<std::string, at::Tensor>> parameters() override { return adapter_.parameters(); }

  // Adapters are float32, so that the parameters are their own masters.
  void save(const std::filesystem::path& directory, const Optimizer&) const override {
    adapter_.save(directory, base_name_);
  }

  void load(const std::filesystem::path& directory, Optimizer&) override { adapter_.load_weights(directory); }

  std::uint64_t saved_bytes() const override {
    std::uint64_t bytes = 0;
    for (const auto& [name, tensor] : adapter_.parameters()) bytes += bytes_of(tensor);
    return bytes;
  }

  bool saves_masters() const override { return true; }

 private:
  LoraAdapter& adapter_;
  std::string base_name_;
};

class ModelWeights : public TrainedWeights {
 public:
  ModelWeights(BaichuanForCausalLM& model, std::filesystem::path base, std::map<std::string, at::ScalarType> dtypes)
      : model_(model), base_(std::move(base)), dtypes_(std::move(dtypes)) {}

  std::vector<std::pair<std::string, at::Tensor>> parameters() override {
    std::vector<std::pair<std::string, at::Tensor>> result;
    for (const auto& named : model_.named_parameters()) result.emplace_back(named.key(), named.value());
    return result;
  }

  void save(const std::filesystem::path& directory, const Optimizer& optimizer) const override {
    std::vector<TensorSpec> specs;
    for (const auto& trained : optimizer.parameters())
      specs.push_back({trained.name, stored_dtype_of(trained.name), trained.master.sizes().vec()});
    CheckpointWriter writer(directory, specs, {});
    for (const auto& trained : optimizer.parameters()) writer.write(trained.name, trained.master);
    writer.finish();
    copy_model_side_files(base_, directory);
    write_json_file(directory / "config.json", to_config_json(model_.config(), dtype_name(specs.front().dtype)));
  }

  void load(const std::filesystem::path& directory, Optimizer& optimizer) override {
    const auto reader = CheckpointReader::open(directory);
    for (const auto& trained : optimizer.parameters()) {
      at::Tensor master = trained.master;
      reader.read_into(trained.name, master);
    }
    optimizer.copy_masters_to_parameters();
  }

  std::uint64_t saved_bytes() const override {
    std::uint64_t bytes = 0;
    for (const auto& named : model_.named_parameters())
      bytes += static_cast<std::uint64_t>(named.value().numel()) * c10::elementSize(stored_dtype_of(named.key()));
    return bytes;
  }

  bool saves_masters() const override {
    for (const auto& named : model_.named_parameters())
      if (stored_dtype_of(named.key()) != at::kFloat) return false;
    return true;
  }

 private:
  at::ScalarType stored_dtype_of(const std::string& name) const {
    const auto found = dtypes_.find(name);
    return found == dtypes_.end() ? at::kFloat : found->second;
  }

  BaichuanForCausalLM& model_;
  std::filesystem::path base_;
  std::map<std::string, at::ScalarType> dtypes_;
};

struct StateTensor {
  std::string name;
  at::Tensor value;
};

std::vector<StateTensor> state_tensors(const Optimizer& optimizer, bool with_masters) {
  std::vector<StateTensor> tensors;
  for (const auto& trained : optimizer.parameters()) {
    tensors.push_back({trained.name + ".exp_avg", trained.exp_avg});
    tensors.push_back({trained.name + ".exp_avg_sq", trained.exp_avg_sq});
    if (with_masters) tensors.push_back({trained.name + ".master", trained.master});
  }
  return tensors;
}

}  // namespace

std::unique_ptr<TrainedWeights> make_adapter_weights(LoraAdapter& adapter, const std::string& base_name) {
  return std::make_unique<AdapterWeights>(adapter, base_name);
}

std::unique_ptr<TrainedWeights> make_model_weights(BaichuanForCausalLM& model,
                                                   const std::filesystem::path& base_directory,
                                                   std::map<std::string, at::ScalarType> stored_dtypes) {
  return std::make_unique<ModelWeights>(model, base_directory, std::move(stored_dtypes));
}

void save_optimizer_state(const Optimizer& optimizer, bool with_masters, const std::filesystem::path& directory) {
  const auto tensors = state_tensors(optimizer, with_masters);
  std::vector<TensorSpec> specs;
  for (const auto& [name, value] : tensors) specs.push_back({name, at::kFloat, value.sizes().vec()});
  CheckpointWriteOptions options;
  options.stem = "optimizer";
  options.max_shard_bytes = std::numeric_limits<std::int64_t>::max();
  CheckpointWriter writer(directory, specs, options);
  for (const auto& [name, value] : tensors) writer.write(name, value);
  writer.finish();
}

void load_optimizer_state(Optimizer& optimizer, const std::filesystem::path& directory) {
  const auto reader = CheckpointReader::open(directory / kOptimizerFile);
  const bool with_masters = reader.find(optimizer.parameters().front().name + ".master") != nullptr;
  std::vector<ReadRequest> requests;
  for (const auto& [name, value] : state_tensors(optimizer, with_masters)) requests.push_back({name, value});
  reader.read_all(requests);
  optimizer.copy_masters_to_parameters();
}

std::uint64_t optimizer_state_bytes(const Optimizer& optimizer, bool with_masters) {
  std::uint64_t bytes = 0;
  for (const auto& [name, value] : state_tensors(optimizer, with_masters)) bytes += bytes_of(value);
  return bytes;
}

}  // namespace baichuan
