// The Baichuan language model on one device. Parameter names are the checkpoint's. Adapters, quantisation and
// sharding are applied from outside, through for_each_projection().
//
//   auto model = load_model("Baichuan-13B-Base", {.dtype = at::kBFloat16});
//   at::NoGradGuard no_grad;
//   auto logits = model->logits(model->hidden_states(ids));
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <torch/nn/module.h>

#include "model/baichuan_config.h"
#include "model/causal_attention.h"
#include "model/decoder_layer.h"
#include "model/kv_cache.h"

namespace baichuan {

class Embedding : public torch::nn::Module {
 public:
  Embedding(int64_t vocab_size, int64_t hidden_size, int64_t padding_id, at::TensorOptions options);
  at::Tensor forward(const at::Tensor& ids);  // [B, T] -> [B, T, D]; the padding row gets no gradient

  at::Tensor weight;  // [V, D]

 private:
  int64_t padding_id_;
};

class BaichuanModel : public torch::nn::Module {
 public:
  BaichuanModel(const BaichuanConfig& config, at::TensorOptions options);
  // [B, T] -> [B, T, D] after the final norm. Layers below `recompute` keep only their input for the backward pass.
  at::Tensor forward(const at::Tensor& ids,
                     const Positions& positions,
                     KvCache* cache,
                     int64_t recompute,
                     at::ScalarType compute_dtype);

  std::shared_ptr<Embedding> embed_tokens;
  std::vector<std::shared_ptr<DecoderLayer>> layers;
  std::shared_ptr<RmsNorm> norm;

  // Called, if set, before a unit's weights are computed with: 0 the embedding, 1 + n layer n, then norm and head. They
  // may still be on their way from other ranks until then.
  std::function<void(std::size_t unit)> before_unit;
};

class BaichuanForCausalLM : public torch::nn::Module {
 public:
  // Weights are uninitialised (norms 1): load_weights.h fills them. Nothing requires gradients: who trains turns them
  // on for what is trained.
  BaichuanForCausalLM(const BaichuanConfig& config, at::TensorOptions options);

  // ids int64 [B, T], right-padded where rows differ in length: attention is causal, so padding never reaches a token.
  // With a cache, ids are the tokens after those in it. -> [B, T, D] after the final norm.
  at::Tensor hidden_states(const at::Tensor& ids, KvCache* cache = nullptr);
  // [..., D] -> [..., V] in the same dtype; NormHead applied.
  at::Tensor logits(const at::Tensor& hidden);
  // The output matrix [V, D], rows of length 1 under NormHead; differentiable.
  at::Tensor head_weight();

  // Names as "model.layers.0.self_attn.W_pack", in the order of the modules. What is put into a slot is registered.
  void for_each_projection(const ProjectionVisitor& visit);

  // Activation recomputation for the first `first_n` layers while gradients are on.
  void set_recompute_layers(int64_t first_n);
  void set_alibi_mode(AlibiMode mode) { alibi_mode_ = mode; }
  // The type of activations; the weights' own unless set. Weights of another type are converted at every use.
  void set_compute_dtype(at::ScalarType dtype) { compute_dtype_ = dtype; }
  at::ScalarType compute_dtype() const { return compute_dtype_; }
  at::Device device() const { return model->embed_tokens->weight.device(); }
  const BaichuanConfig& config() const { return config_; }

  std::shared_ptr<BaichuanModel> model;
  std::shared_ptr<DenseProjection> lm_head;

 private:
  Positions positions_for(int64_t past, int64_t tokens);
  at::Tensor inverse_row_norms();

  BaichuanConfig config_;
  AlibiMode alibi_mode_ = AlibiMode::kExact;
  at::ScalarType compute_dtype_;
  int64_t recompute_layers_ = 0;

  std::mutex tables_mutex_;  // the tables grow with the longest input seen
  Positions tables_;
  at::Tensor row_norms_;  // NormHead: 1 / |row|, of the weight at version row_norms_version_
  int64_t row_norms_version_ = -1;
};

}  // namespace baichuan
