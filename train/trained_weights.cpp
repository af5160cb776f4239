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

class AdapterWeights : public TrainedWeights {
 public:
  AdapterWeights(LoraAdapter& adapter, std::string base_name) : adapter_(adapter), base_name_(std::move(base_name)) {}

  std::vector<std::pair<std::string, at::Tensor>> parameters() override { return adapter_.parameters(); }

  // Adapters are float32, so that the parameters are their own masters.
  void save(const std::filesystem::path& directory, const Optimizer& optimizer, bool writes) const override {
    optimizer.wait_for_values();
    if (writes) adapter_.save(directory, base_name_);
  }

  void add_to(CheckpointPart& part,
              const Optimizer& optimizer,
              std::int64_t writer,
              std::int64_t /*writers*/) const override {
    optimizer.wait_for_values();
    if (writer != 0) return;
    part.add_tensors(kAdapterStem, adapter_.saved_tensors());
    part.add_files([this](const auto& directory) { adapter_.save_config(directory, base_name_); });
  }

  void load(const std::filesystem::path& directory, Optimizer& optimizer) override {
    optimizer.wait_for_values();
    adapter_.load_weights(directory);
  }

  std::uint64_t saved_bytes() const override {
    std::uint64_t bytes = 0;
    for (const auto& [name, tensor] : adapter_.parameters()) bytes += tensor.nbytes();
    return bytes;
  }

  bool saves_masters() const override { return true; }

 private:
  LoraAdapter& adapter_;
  std::string base_name_;
};

class ModelWeights : public TrainedWeights {
 public:
  ModelWeights(BaichuanForCausalLM& model,
               std::filesystem::path base,
               std::map<std::string, at::ScalarType> dtypes,
               std::int64_t max_shard_bytes)
      : model_(model), base_(std::move(base)), dtypes_(std::move(dtypes)) {
    format_.max_shard_bytes = max_shard_bytes;
  }

  std::vector<std::pair<std::string, at::Tensor>> parameters() override {
    std::vector<std::pair<std::string, at::Tensor>> result;
    for (const auto& named : model_.named_parameters()) result.emplace_back(named.key(), named.value());
    return result;
  }

  void save(const std::filesystem::path& directory, const Optimizer& optimizer, bool writes) const override {
    std::optional<CheckpointWriter> writer;
    if (writes) writer.emplace(directory, specs(), format_);
    visit_values(optimizer, [&](const std::string& name, const at::Tensor& value) {
      if (writer) writer->write(name, value);
    });
    if (!writer) return;
    writer->finish();
    save_side_files(directory);
  }

  void add_to(CheckpointPart& part,
              const Optimizer& optimizer,
              std::int64_t writer,
              std::int64_t writers) const override {
    const auto files = plan_files(specs(), format_);
    std::map<std::string, SavedTensor> mine;
    for (std::size_t i = 0; i < files.size(); ++i)
      if (static_cast<std::int64_t>(i) % writers == writer)
        for (const auto& spec : files[i].tensors) mine[spec.name].spec = spec;
    const bool passing = !values_are_stored() && writers > 1;  // gathered masters live only while they are visited
    visit_values(optimizer, [&](const std::string& name, const at::Tensor& value) {
      const auto found = mine.find(name);
      if (found == mine.end()) return;
      found->second.value = passing ? value.to(at::kCPU, found->second.spec.dtype, false, /*copy=*/true) : value;
    });
    for (const auto& file : files) {
      std::vector<SavedTensor> tensors;
      for (const auto& spec : file.tensors)
        if (const auto found = mine.find(spec.name); found != mine.end()) tensors.push_back(std::move(found->second));
      part.add_tensors(file.stem, std::move(tensors));
    }
    if (writer != 0) return;
    part.add_files([this, files](const auto& directory) {
      if (files.size() > 1) write_index(directory, files, format_);
      save_side_files(directory);
    });
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
  std::vector<TensorSpec> specs() const {
    std::vector<TensorSpec> specs;
    for (const auto& named : model_.named_parameters())
      specs.push_back({named.key(), stored_dtype_of(named.key()), named.value().sizes().vec()});
    return specs;
  }

  // Whole tensors, not rounded further than to the type that they are stored in; a collective where the masters are
  // divided and the model computes in another type than that.
  void visit_values(const Optimizer& optimizer,
                    const std::function<void(const std::string& name, const at::Tensor& value)>& visit) const {
    optimizer.wait_for_values();
    if (!values_are_stored()) {
      optimizer.visit_masters(visit);
      return;
    }
    for (const auto& named : model_.named_parameters()) visit(named.key(), named.value());
  }

  void save_side_files(const std::filesystem::path& directory) const {
    copy_model_side_files(base_, directory);
    const auto dtype = std::string(dtype_name(stored_dtype_of(model_.named_parameters().front().key())));
    write_json_file(directory / "config.json", to_config_json(model_.config(), dtype));
  }

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
  CheckpointWriteOptions format_;
};

}  // namespace

std::unique_ptr<TrainedWeights> make_adapter_weights(LoraAdapter& adapter, const std::string& base_name) {
  return std::make_unique<AdapterWeights>(adapter, base_name);
}

std::unique_ptr<TrainedWeights> make_model_weights(BaichuanForCausalLM& model,
                                                   const std::filesystem::path& base_directory,
                                                   std::map<std::string, at::ScalarType> stored_dtypes,
                                                   std::int64_t max_shard_bytes) {
  return std::make_unique<ModelWeights>(model, base_directory, std::move(stored_dtypes), max_shard_bytes);
}

}  // namespace baichuan
