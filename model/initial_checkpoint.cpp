#include "model/initial_checkpoint.h"

#include <algorithm>
#include <string>

#include <torch/torch.h>

#include "model/load_weights.h"

namespace baichuan {

namespace {

constexpr std::int64_t kPieceBytes = 64 << 20;

// Rows of a piece: a multiple of 4, so that every piece begins at a whole block of draws.
std::int64_t rows_of_piece(const TensorSpec& tensor) {
  const std::int64_t row_bytes = std::max<std::int64_t>(1, tensor.nbytes() / tensor.shape.front());
  return std::max<std::int64_t>(4, kPieceBytes / row_bytes / 4 * 4);
}

}  // namespace

std::vector<TensorSpec> parameter_specs(const BaichuanConfig& config, at::ScalarType dtype) {
  const std::int64_t d = config.hidden_size;
  const std::int64_t f = config.intermediate_size;
  std::vector<TensorSpec> specs;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    specs.push_back({name + ".weight", dtype, std::move(shape)});
  };
  add("model.embed_tokens", {config.vocab_size, d});
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    add(layer + "self_attn.W_pack", {3 * d, d});
    add(layer + "self_attn.o_proj", {d, d});
    add(layer + "mlp.gate_proj", {f, d});
    add(layer + "mlp.down_proj", {d, f});
    add(layer + "mlp.up_proj", {f, d});
    add(layer + "input_layernorm", {d});
    add(layer + "post_attention_layernorm", {d});
  }
  add("model.norm", {d});
  add("lm_head", {config.vocab_size, d});
  return specs;
}

bool write_initial_checkpoint(const BaichuanConfig& config,
                              at::ScalarType dtype,
                              std::uint64_t seed,
                              const std::filesystem::path& directory,
                              const CheckpointWriteOptions& options,
                              const WriteProgress& progress) {
  config.validate();
  const auto specs = parameter_specs(config, dtype);
  const std::int64_t total = config.num_parameters() * static_cast<std::int64_t>(c10::elementSize(dtype));
  std::filesystem::create_directories(directory);
  CheckpointWriter writer(directory, specs, options);
  std::int64_t written = 0;
  for (const TensorSpec& tensor : specs) {
    const std::int64_t row_elements = tensor.numel() / tensor.shape.front();
    const std::int64_t piece = rows_of_piece(tensor);
    for (std::int64_t row = 0; row < tensor.shape.front(); row += piece) {
      auto shape = tensor.shape;
      shape.front() = std::min(piece, tensor.shape.front() - row);
      auto values = at::empty(shape, at::TensorOptions().dtype(dtype));
      fill_initial_weight(values, tensor.name, seed, config.initializer_range, row * row_elements);
      writer.write_rows(tensor.name, values);
      written += values.numel() * static_cast<std::int64_t>(values.element_size());
      if (progress && !progress(written, total)) return false;
    }
  }
  writer.finish();
  write_json_file(directory / "config.json", to_config_json(config, dtype_name(dtype)));
  return true;
}

}  // namespace baichuan
