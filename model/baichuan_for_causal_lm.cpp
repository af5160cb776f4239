#include "model/baichuan_for_causal_lm.h"

#include <algorithm>

#include <ATen/OpMathType.h>
#include <torch/torch.h>

#include "model/alibi.h"
#include "model/recompute.h"

namespace baichuan {

namespace {

constexpr int64_t kFirstTable = 512;    // positions in the first tables; they double from there
constexpr double kNormFloor = 1e-12;    // of NormHead: a row of zeros stays one
constexpr int64_t kNormRows = 1 << 13;  // rows normalised at a time

bool any_requires_grad(const torch::nn::Module& module) {
  const auto parameters = module.parameters();
  return std::any_of(parameters.begin(), parameters.end(), [](const at::Tensor& p) { return p.requires_grad(); });
}

int64_t table_size(int64_t needed, int64_t present) {
  int64_t size = std::max(present, kFirstTable);
  while (size < needed) size *= 2;
  return size;
}

}  // namespace

Embedding::Embedding(int64_t vocab_size, int64_t hidden_size, int64_t padding_id, at::TensorOptions options)
    : padding_id_(padding_id) {
  weight = register_parameter("weight", at::empty({vocab_size, hidden_size}, options), /*requires_grad=*/false);
}

at::Tensor Embedding::forward(const at::Tensor& ids) {
  return at::embedding(weight, ids, padding_id_);
}

BaichuanModel::BaichuanModel(const BaichuanConfig& config, at::TensorOptions options)
    : embed_tokens(register_module(
          "embed_tokens",
          std::make_shared<Embedding>(config.vocab_size, config.hidden_size, config.pad_token_id, options))) {
  torch::nn::ModuleList list;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    layers.push_back(std::make_shared<DecoderLayer>(config, i, options));
    list->push_back(layers.back());
  }
  register_module("layers", list.ptr());
  norm = register_module("norm", std::make_shared<RmsNorm>(config.hidden_size, config.rms_norm_eps, options));
}

at::Tensor BaichuanModel::forward(const at::Tensor& ids,
                                  const Positions& positions,
                                  KvCache* cache,
                                  int64_t recompute,
                                  at::ScalarType compute_dtype) {
  const auto announce = [this](std::size_t unit) {
    if (before_unit) before_unit(unit);
  };
  announce(0);
  auto h = embed_tokens->forward(ids).to(compute_dtype);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto& layer = layers[i];
    announce(i + 1);
    const bool again = static_cast<int64_t>(i) < recompute && cache == nullptr && at::GradMode::is_enabled() &&
                       (h.requires_grad() || any_requires_grad(*layer));
    h = again ? recomputed([layer, positions](const at::Tensor& x) { return layer->forward(x, positions, nullptr); }, h)
              : layer->forward(h, positions, cache);
  }
  announce(layers.size() + 1);
  return norm->forward(h);
}

BaichuanForCausalLM::BaichuanForCausalLM(const BaichuanConfig& config, at::TensorOptions options)
    : config_(config), compute_dtype_(options.has_dtype() ? c10::typeMetaToScalarType(options.dtype()) : at::kFloat) {
  config.validate();
  model = register_module("model", std::make_shared<BaichuanModel>(config, options));
  lm_head =
      register_module("lm_head", std::make_shared<DenseProjection>(config.hidden_size, config.vocab_size, options));
}

at::Tensor BaichuanForCausalLM::hidden_states(const at::Tensor& ids, KvCache* cache) {
  TORCH_CHECK_VALUE(ids.dim() == 2 && ids.scalar_type() == at::kLong && ids.numel() > 0,
                    "hidden_states: expected int64 ids [B, T] with at least one token, got ", ids.scalar_type(), " ",
                    ids.sizes());
  TORCH_CHECK_VALUE(cache == nullptr || !at::GradMode::is_enabled(), "hidden_states: a cache takes no gradients");
  const int64_t past = cache == nullptr ? 0 : cache->length();
  const auto positions = positions_for(past, ids.size(1));
  auto hidden = model->forward(ids, positions, cache, recompute_layers_, compute_dtype_);
  if (cache != nullptr) cache->advance(ids.size(1));
  return hidden;
}

Positions BaichuanForCausalLM::positions_for(int64_t past, int64_t tokens) {
  const std::lock_guard lock(tables_mutex_);
  const int64_t needed = past + tokens;
  tables_.kind = config_.position;
  if (config_.position == PositionEmbedding::kAlibi) {
    const int64_t present = tables_.alibi_table.defined() ? tables_.alibi_table.size(1) / 2 : 0;
    if (needed > present || tables_.alibi_table.device() != device()) {
      tables_.alibi_slopes = alibi_slope_tensor(config_.num_heads, device());
      tables_.alibi_table = alibi_table(tables_.alibi_slopes, table_size(needed, present));
    }
  } else {
    const int64_t present = tables_.rotary.cos.defined() ? tables_.rotary.cos.size(0) : 0;
    if (needed > present || tables_.rotary.cos.device() != device())
      tables_.rotary = rotary_table(table_size(needed, present), config_.head_dim(), device());
  }
  Positions positions = tables_;
  positions.mode = alibi_mode_;
  positions.past = past;
  return positions;
}

at::Tensor BaichuanForCausalLM::head_weight() {
  const auto& weight = lm_head->weight;
  if (!config_.norm_head) return weight;
  return weight / weight.norm(2, {1}, /*keepdim=*/true).clamp_min(kNormFloor);
}

at::Tensor BaichuanForCausalLM::logits(const at::Tensor& hidden) {
  if (!config_.norm_head) return lm_head->forward(hidden);
  if (at::GradMode::is_enabled()) return linear_in_dtype_of(hidden, head_weight());
  // Dividing the logits instead of the rows: no second copy of the largest matrix.
  return (lm_head->forward(hidden) * inverse_row_norms()).to(hidden.scalar_type());
}

at::Tensor BaichuanForCausalLM::inverse_row_norms() {
  const std::lock_guard lock(tables_mutex_);
  const at::Tensor weight = lm_head->weight.detach();
  const auto version = static_cast<int64_t>(lm_head->weight._version());
  if (row_norms_.defined() && version == row_norms_version_ && row_norms_.device() == weight.device())
    return row_norms_;
  const auto wide = at::toOpMathType(weight.scalar_type());
  row_norms_ = at::empty({weight.size(0)}, weight.options().dtype(wide));
  for (int64_t row = 0; row < weight.size(0); row += kNormRows) {
    const int64_t count = std::min(kNormRows, weight.size(0) - row);
    const auto norms = weight.narrow(0, row, count).to(wide).norm(2, {1});
    row_norms_.narrow(0, row, count).copy_(norms.clamp_min(kNormFloor).reciprocal());
  }
  row_norms_version_ = version;
  return row_norms_;
}

void BaichuanForCausalLM::for_each_projection(const ProjectionVisitor& visit) {
  for (std::size_t i = 0; i < model->layers.size(); ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    model->layers[i]->for_each_projection(
        [&](const std::string& name, std::shared_ptr<Projection>& slot) { visit(prefix + name, slot); });
  }
}

void BaichuanForCausalLM::set_recompute_layers(int64_t first_n) {
  TORCH_CHECK_VALUE(first_n >= 0, "set_recompute_layers: expected a count of layers, got ", first_n);
  recompute_layers_ = std::min(first_n, config_.num_layers);
}

}  // namespace baichuan
