#include "tests/cli/tiny_checkpoint.h"

#include <torch/torch.h>

#include "core/json.h"
#include "data/tokenizer.h"
#include "io/checkpoint_writer.h"
#include "model/baichuan_for_causal_lm.h"
#include "model/load_weights.h"

namespace baichuan {

void write_tiny_checkpoint(const std::filesystem::path& directory, std::int64_t window) {
  const std::filesystem::path vocabulary = BAICHUAN_SOURCE_DIR "/configs/quickstart/tokenizer.model";
  BaichuanConfig config = preset_config("tiny");
  config.vocab_size = Tokenizer(vocabulary).vocab_size();
  config.hidden_size = 40;
  config.intermediate_size = 72;
  config.num_layers = 2;
  config.num_heads = 5;
  config.max_positions = window;
  BaichuanForCausalLM model(config, at::TensorOptions().dtype(at::kFloat));
  init_weights(model, /*seed=*/3, /*std=*/0.3);

  std::filesystem::create_directories(directory);
  std::vector<TensorSpec> specs;
  for (const auto& parameter : model.named_parameters())
    specs.push_back({parameter.key(), parameter.value().scalar_type(), parameter.value().sizes().vec()});
  CheckpointWriter writer(directory, specs, {});
  for (const auto& parameter : model.named_parameters()) writer.write(parameter.key(), parameter.value());
  writer.finish();
  write_json_file(directory / "config.json", to_config_json(config, "float32"));
  std::filesystem::copy_file(vocabulary, directory / "tokenizer.model");
}

}  // namespace baichuan
