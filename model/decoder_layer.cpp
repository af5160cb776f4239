#include "model/decoder_layer.h"

#include <torch/torch.h>

#include "kernels/rms_norm.h"
#include "kernels/swiglu.h"

namespace baichuan {

namespace {

std::shared_ptr<Projection> dense(int64_t in, int64_t out, at::TensorOptions options) {
  return std::make_shared<DenseProjection>(in, out, options);
}

// Shows one slot to the visitor; a projection put in its place is registered under the same name.
void visit_slot(torch::nn::Module& owner,
                const char* name,
                std::shared_ptr<Projection>& slot,
                const ProjectionVisitor& visit) {
  const auto before = slot;
  visit(name, slot);
  TORCH_CHECK_VALUE(slot != nullptr, "for_each_projection: slot ", name, " must hold a projection, got null");
  if (slot != before) owner.replace_module(name, slot);
}

}  // namespace

RmsNorm::RmsNorm(int64_t size, double eps, at::TensorOptions options) : eps_(eps) {
  weight = register_parameter("weight", at::ones({size}, options), /*requires_grad=*/false);
}

at::Tensor RmsNorm::forward(const at::Tensor& x) {
  return rms_norm(x, weight.to(x.scalar_type()), eps_);
}

Mlp::Mlp(const BaichuanConfig& config, at::TensorOptions options)
    : gate_proj(register_module("gate_proj", dense(config.hidden_size, config.intermediate_size, options))),
      down_proj(register_module("down_proj", dense(config.intermediate_size, config.hidden_size, options))),
      up_proj(register_module("up_proj", dense(config.hidden_size, config.intermediate_size, options))) {}

at::Tensor Mlp::forward(const at::Tensor& x) {
  return down_proj->forward(swiglu(gate_proj->forward(x), up_proj->forward(x)));
}

void Mlp::for_each_projection(const ProjectionVisitor& visit) {
  visit_slot(*this, "gate_proj", gate_proj, visit);
  visit_slot(*this, "down_proj", down_proj, visit);
  visit_slot(*this, "up_proj", up_proj, visit);
}

// q, k and v are the thirds of W_pack's rows, in that order, each head after head.
Attention::Attention(const BaichuanConfig& config, int64_t layer, at::TensorOptions options)
    : W_pack(register_module("W_pack", dense(config.hidden_size, 3 * config.hidden_size, options))),
      o_proj(register_module("o_proj", dense(config.hidden_size, config.hidden_size, options))),
      layer_(layer),
      num_heads_(config.num_heads),
      head_dim_(config.head_dim()) {}

at::Tensor Attention::forward(const at::Tensor& x, const Positions& positions, KvCache* cache) {
  auto qkv = W_pack->forward(x).contiguous().view({x.size(0), x.size(1), 3, num_heads_, head_dim_});
  if (cache == nullptr) return o_proj->forward(self_attention(qkv, positions));
  apply_rotary_(qkv, positions);
  const auto heads = qkv.permute({2, 0, 3, 1, 4});  // [3, B, H, T, K]
  const auto [keys, values] = cache->append(layer_, heads[1], heads[2]);
  return o_proj->forward(cached_attention(heads[0], keys, values, positions));
}

void Attention::for_each_projection(const ProjectionVisitor& visit) {
  visit_slot(*this, "W_pack", W_pack, visit);
  visit_slot(*this, "o_proj", o_proj, visit);
}

DecoderLayer::DecoderLayer(const BaichuanConfig& config, int64_t layer, at::TensorOptions options)
    : self_attn(register_module("self_attn", std::make_shared<Attention>(config, layer, options))),
      mlp(register_module("mlp", std::make_shared<Mlp>(config, options))),
      input_layernorm(register_module("input_layernorm",
                                      std::make_shared<RmsNorm>(config.hidden_size, config.rms_norm_eps, options))),
      post_attention_layernorm(register_module(
          "post_attention_layernorm", std::make_shared<RmsNorm>(config.hidden_size, config.rms_norm_eps, options))) {}

at::Tensor DecoderLayer::forward(const at::Tensor& x, const Positions& positions, KvCache* cache) {
  const auto h = x + self_attn->forward(input_layernorm->forward(x), positions, cache);
  return h + mlp->forward(post_attention_layernorm->forward(h));
}

void DecoderLayer::for_each_projection(const ProjectionVisitor& visit) {
  self_attn->for_each_projection([&](const std::string& name, auto& slot) { visit("self_attn." + name, slot); });
  mlp->for_each_projection([&](const std::string& name, auto& slot) { visit("mlp." + name, slot); });
}

}  // namespace baichuan
