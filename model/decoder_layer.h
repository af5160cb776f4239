// One block of the decoder and its parts, named as the checkpoint names them.
// Shapes: B batch, T query tokens, D hidden size, H heads, K head size (D = H * K), I feed-forward size.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <torch/nn/module.h>

#include "model/baichuan_config.h"
#include "model/causal_attention.h"
#include "model/kv_cache.h"
#include "model/projection.h"

namespace baichuan {

// Called with the name of a slot relative to the visited module, and the slot, which may be replaced.
using ProjectionVisitor = std::function<void(const std::string& name, std::shared_ptr<Projection>& slot)>;

class RmsNorm : public torch::nn::Module {
 public:
  RmsNorm(int64_t size, double eps, at::TensorOptions options);
  at::Tensor forward(const at::Tensor& x);  // [..., D] -> [..., D]

  at::Tensor weight;  // [D], 1 until loaded

 private:
  double eps_;
};

class Mlp : public torch::nn::Module {
 public:
  Mlp(const BaichuanConfig& config, at::TensorOptions options);
  at::Tensor forward(const at::Tensor& x);  // [B, T, D] -> [B, T, D]
  void for_each_projection(const ProjectionVisitor& visit);

  std::shared_ptr<Projection> gate_proj, down_proj, up_proj;
};

class Attention : public torch::nn::Module {
 public:
  Attention(const BaichuanConfig& config, int64_t layer, at::TensorOptions options);
  // With a cache, x holds the tokens after those in it, and their keys and values are appended.
  at::Tensor forward(const at::Tensor& x, const Positions& positions, KvCache* cache);  // [B, T, D] -> [B, T, D]
  void for_each_projection(const ProjectionVisitor& visit);

  std::shared_ptr<Projection> W_pack, o_proj;

 private:
  int64_t layer_;
  int64_t num_heads_;
  int64_t head_dim_;
};

class DecoderLayer : public torch::nn::Module {
 public:
  DecoderLayer(const BaichuanConfig& config, int64_t layer, at::TensorOptions options);
  at::Tensor forward(const at::Tensor& x, const Positions& positions, KvCache* cache);  // [B, T, D] -> [B, T, D]
  void for_each_projection(const ProjectionVisitor& visit);

  std::shared_ptr<Attention> self_attn;
  std::shared_ptr<Mlp> mlp;
  std::shared_ptr<RmsNorm> input_layernorm, post_attention_layernorm;
};

}  // namespace baichuan
