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
#include "train/optimizer_state.h"

namespace baichuan {

namespace {

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
  void save(const std::filesystem::path& directory, const Optimizer& optimizer, bool writes) const override {
    optimizer.wait_for_values();
    if (writes) adapter_.save(directory, base_name_);
  }

  void load(const std::filesystem::path& directory, Optimizer& optimizer) override {
    optimizer.wait_for_values();
    adapter_.load_weights(directory);
  }

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

  void save(const std::filesystem::path& directory, const Optimizer& optimizer, bool writes) const override {
    std::vector<TensorSpec> specs;
    for (const auto& named : model_.named_parameters())
      specs.push_back({named.key(), stored_dtype_of(named.key()), named.value().sizes().vec()});
    optimizer.wait_for_values();
    std::optional<CheckpointWriter> writer;
    if (writes) writer.emplace(directory, specs, CheckpointWriteOptions{});
    const auto write = [&](const std::string& name, const at::Tensor& value) {
      if (writer) writer->write(name, value);
    };
    if (values_are_stored()) {
      // The computing copies are the masters rounded once to the stored type: nothing need be gathered.
      for (const auto& named : model_.named_parameters()) write(named.key(), named.value());
    } else {
      optimizer.visit_masters(write);
    }
    if (!writer) return;
    writer->finish();
    copy_model_side_files(base_, directory);
    write_json_file(directory / "config.json", to_config_json(model_.config(), dtype_name(specs.front().dtype)));
  }

  void load(const std::filesystem::path& directory, Optimizer& optimizer) override {
    const auto reader = CheckpointReader::open(directory);
    optimizer.wait_for_values();
    for (const auto& trained : optimizer.parameters()) {
      if (trained.master.numel() == trained.whole_elements()) {
        at::Tensor whole = trained.master.view(trained.shape);
        reader.read_into(trained.name, whole);
      } else {
        trained.master.copy_(read_elements(reader, trained.name, trained.shape, trained.first, trained.master.numel()));
      }
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
  bool values_are_stored() const {
    for (const auto& named : model_.named_parameters())
      if (stored_dtype_of(named.key()) != named.value().scalar_type()) return false;
    return true;
  }
  at::ScalarType stored_dtype_of(const std::string& name) const {
    const auto found = dtypes_.find(name);
    return found == dtypes_.end() ? at::kFloat : found->second;
  }

  BaichuanForCausalLM& model_;
  std::filesystem::path base_;
  std::map<std::string, at::ScalarType> dtypes_;
};

}  // namespace

std::unique_ptr<TrainedWeights> make_adapter_weights(LoraAdapter& adapter, const std::string& base_name) {
  return std::make_unique<AdapterWeights>(adapter, base_name);
}

std::unique_ptr<TrainedWeights> make_model_weights(BaichuanForCausalLM& model,
                                                   const std::filesystem::path& base_directory,
                                                   std::map<std::string, at::ScalarType> stored_dtypes) {
  return std::make_unique<ModelWeights>(model, base_directory, std::move(stored_dtypes));
}

}  // namespace baichuan
