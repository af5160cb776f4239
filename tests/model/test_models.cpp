#include "tests/model/test_models.h"

#include <cmath>

#include <gtest/gtest.h>

#include <torch/torch.h>

namespace baichuan {

BaichuanConfig small_config(PositionEmbedding position) {
  BaichuanConfig config;
  config.vocab_size = 320;
  config.hidden_size = 160;
  config.intermediate_size = 432;
  config.num_layers = 2;
  config.num_heads = 5;
  config.max_positions = 4096;
  config.rms_norm_eps = 1e-6;
  config.position = position;
  return config;
}

at::Tensor hashed(int64_t seed, int64_t count) {
  auto values = at::empty({count}, at::kDouble);
  auto* const data = values.mutable_data_ptr<double>();
  for (int64_t i = 0; i < count; ++i) {
    uint64_t z = ((static_cast<uint64_t>(seed) << 32) + static_cast<uint64_t>(i) + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z = z ^ (z >> 31);
    data[i] = static_cast<double>(z >> 40) * 0x1p-24;
  }
  return values;
}

at::Tensor hashed_ids(const BaichuanConfig& config, int64_t seed, int64_t length) {
  return (hashed(seed, length) * static_cast<double>(config.vocab_size)).to(at::kLong).unsqueeze(0);
}

std::shared_ptr<BaichuanForCausalLM> hashed_model(const BaichuanConfig& config, int64_t seed, at::ScalarType dtype) {
  auto model = std::make_shared<BaichuanForCausalLM>(config, at::TensorOptions().dtype(dtype));
  // The reference's order of the tensors.
  std::vector<std::string> names{"model.embed_tokens.weight"};
  for (int64_t i = 0; i < config.num_layers; ++i)
    for (const char* name : {"self_attn.W_pack", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
                             "input_layernorm", "post_attention_layernorm"})
      names.push_back("model.layers." + std::to_string(i) + "." + name + ".weight");
  names.insert(names.end(), {"model.norm.weight", "lm_head.weight"});
  auto parameters = model->named_parameters();
  EXPECT_EQ(names.size(), parameters.size());
  for (std::size_t t = 0; t < names.size(); ++t) {
    at::Tensor parameter = parameters[names[t]].detach();
    const bool norm = parameter.dim() == 1;
    const double width = norm ? 0.5 : 3.0 / std::sqrt(static_cast<double>(parameter.size(-1)));
    const auto values = (norm ? 1.0 : 0.0) + width * (hashed(seed + static_cast<int64_t>(t), parameter.numel()) - 0.5);
    parameter.copy_(values.to(at::kFloat).view(parameter.sizes()));
  }
  return model;
}

void train_everything(BaichuanForCausalLM& model) {
  for (auto& parameter : model.parameters()) parameter.set_requires_grad(true);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return largest_difference(a, b) / b.to(at::kDouble).abs().max().item<double>();
}

}  // namespace baichuan
