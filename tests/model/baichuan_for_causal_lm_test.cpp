#include "model/baichuan_for_causal_lm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "tests/model/test_models.h"

namespace baichuan {
namespace {

using testing::HasSubstr;

constexpr auto kAlibi = PositionEmbedding::kAlibi;
constexpr auto kRope = PositionEmbedding::kRope;

at::Tensor batch_of_ids(const BaichuanConfig& config, int64_t rows, int64_t tokens) {
  return hashed_ids(config, 9, rows * tokens).view({rows, tokens});
}

// A loss that every position and every element of the hidden states has a part in.
void backward(BaichuanForCausalLM& model, const at::Tensor& ids) {
  const auto logits = model.logits(model.hidden_states(ids));
  at::cross_entropy_loss(logits.flatten(0, 1), ids.flatten()).backward();
}

TEST(BaichuanForCausalLM, ParametersAreNamedAsInCheckpoints) {
  const BaichuanForCausalLM model(small_config(kAlibi), at::kFloat);
  std::vector<std::string> names;
  for (const auto& item : model.named_parameters()) names.push_back(item.key());
  EXPECT_EQ(names.size(), 2u * 7 + 3);
  EXPECT_THAT(names, testing::IsSupersetOf(
                         {"model.embed_tokens.weight", "model.layers.0.self_attn.W_pack.weight",
                          "model.layers.1.self_attn.o_proj.weight", "model.layers.0.mlp.gate_proj.weight",
                          "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight",
                          "model.layers.0.input_layernorm.weight", "model.layers.1.post_attention_layernorm.weight",
                          "model.norm.weight", "lm_head.weight"}));
  int64_t elements = 0;
  for (const auto& p : model.parameters()) elements += p.numel();
  EXPECT_EQ(elements, model.config().num_parameters());
}

TEST(BaichuanForCausalLM, AnInvalidConfigurationIsRefusedBeforeMemoryIsTaken) {
  auto config = small_config(kAlibi);
  config.num_heads = 7;
  EXPECT_THROW(BaichuanForCausalLM(config, at::kFloat), std::exception);
}

TEST(BaichuanForCausalLM, CachedIsUncached) {
  for (const auto position : {kAlibi, kRope})
    for (const auto mode : {AlibiMode::kExact, AlibiMode::kOfficial}) {
      const auto model = hashed_model(small_config(position), 100);
      model->set_alibi_mode(mode);
      const at::NoGradGuard no_grad;
      const auto ids = batch_of_ids(model->config(), 2, 60);
      const auto whole = model->hidden_states(ids);
      // Prefill and single steps; then a prefill in chunks.
      for (const std::vector<int64_t>& chunks : {std::vector<int64_t>{50, 1, 1, 1, 7}, {1, 16, 16, 16, 11}}) {
        KvCache cache(model->config(), 2, 64, at::kFloat);
        int64_t past = 0;
        for (const int64_t count : chunks) {
          const auto part = model->hidden_states(ids.narrow(1, past, count), &cache);
          EXPECT_LT(largest_difference(part, whole.narrow(1, past, count)), 2e-5);
          past += count;
          EXPECT_EQ(cache.length(), past);
        }
      }
    }
}

TEST(BaichuanForCausalLM, CachedIsUncachedInBfloat16) {
  const auto model = hashed_model(small_config(kAlibi), 100, at::kBFloat16);
  const at::NoGradGuard no_grad;
  const auto ids = batch_of_ids(model->config(), 1, 40);
  const auto whole = model->hidden_states(ids);
  KvCache cache(model->config(), 1, 40, at::kBFloat16);
  model->hidden_states(ids.narrow(1, 0, 39), &cache);
  EXPECT_LT(relative_difference(model->hidden_states(ids.narrow(1, 39, 1), &cache), whole.narrow(1, 39, 1)), 0.03);
}

TEST(BaichuanForCausalLM, ATruncatedCacheContinuesDifferently) {
  const auto model = hashed_model(small_config(kRope), 100);
  const at::NoGradGuard no_grad;
  const auto ids = batch_of_ids(model->config(), 1, 20);
  KvCache cache(model->config(), 1, 20, at::kFloat);
  model->hidden_states(ids, &cache);
  cache.truncate(10);
  const auto again = model->hidden_states(ids.narrow(1, 10, 10), &cache);
  EXPECT_LT(largest_difference(again, model->hidden_states(ids).narrow(1, 10, 10)), 2e-5);
  EXPECT_THROW(model->hidden_states(ids, &cache), c10::Error) << "it is full";
  EXPECT_THROW(cache.truncate(21), c10::Error);
}

TEST(BaichuanForCausalLM, PaddingOnTheRightNeverReachesAToken) {
  for (const auto position : {kAlibi, kRope}) {
    const auto model = hashed_model(small_config(position), 100);
    const at::NoGradGuard no_grad;
    auto ids = batch_of_ids(model->config(), 2, 30);
    const auto before = model->hidden_states(ids);
    ids[1].narrow(0, 12, 18).fill_(0);
    const auto after = model->hidden_states(ids);
    EXPECT_TRUE(at::equal(after[0], before[0]));
    EXPECT_TRUE(at::equal(after[1].narrow(0, 0, 12), before[1].narrow(0, 0, 12)));
  }
}

TEST(BaichuanForCausalLM, PositionTablesGrowWithTheInput) {
  for (const auto position : {kAlibi, kRope}) {
    const auto fresh = hashed_model(small_config(position), 100);
    const auto grown = hashed_model(small_config(position), 100);
    const at::NoGradGuard no_grad;
    const auto ids = batch_of_ids(fresh->config(), 1, 1300);
    grown->hidden_states(ids.narrow(1, 0, 3));
    EXPECT_TRUE(at::equal(grown->hidden_states(ids), fresh->hidden_states(ids)));
  }
}

std::map<std::string, at::Tensor> gradients(BaichuanForCausalLM& model) {
  std::map<std::string, at::Tensor> found;
  for (const auto& item : model.named_parameters())
    if (item.value().grad().defined()) found[item.key()] = item.value().grad().clone();
  return found;
}

TEST(Recomputation, GivesTheSameBits) {
  for (const auto position : {kAlibi, kRope}) {
    const auto model = hashed_model(small_config(position), 100);
    train_everything(*model);
    const auto ids = batch_of_ids(model->config(), 2, 33);
    backward(*model, ids);
    const auto without = gradients(*model);
    EXPECT_EQ(without.size(), 17u);
    for (const int64_t layers : {1, 2}) {
      model->zero_grad();
      model->set_recompute_layers(layers);
      backward(*model, ids);
      for (const auto& [name, gradient] : gradients(*model)) EXPECT_TRUE(at::equal(gradient, without.at(name))) << name;
    }
    // Accumulation over two batches too.
    const auto other = batch_of_ids(model->config(), 2, 20);
    backward(*model, other);
    const auto with_twice = gradients(*model);
    model->zero_grad();
    model->set_recompute_layers(0);
    backward(*model, ids);
    backward(*model, other);
    for (const auto& [name, gradient] : gradients(*model))
      EXPECT_TRUE(at::equal(gradient, with_twice.at(name))) << name;
  }
}

TEST(Recomputation, ReachesParametersBehindAnInputThatNeedsNoGradient) {
  const auto model = hashed_model(small_config(kAlibi), 100);
  // As under LoRA: the embedding is frozen, only parameters inside the layers are trained.
  for (auto& layer : model->model->layers)
    for (auto& p : layer->self_attn->W_pack->parameters()) p.set_requires_grad(true);
  const auto ids = batch_of_ids(model->config(), 1, 12);
  backward(*model, ids);
  const auto without = gradients(*model);
  ASSERT_EQ(without.size(), 2u);
  model->zero_grad();
  model->set_recompute_layers(2);
  backward(*model, ids);
  for (const auto& [name, gradient] : gradients(*model)) EXPECT_TRUE(at::equal(gradient, without.at(name))) << name;
  EXPECT_EQ(gradients(*model).size(), 2u);
}

TEST(Recomputation, ChangesNothingWithoutGradients) {
  const auto model = hashed_model(small_config(kAlibi), 100);
  model->set_recompute_layers(99);
  const at::NoGradGuard no_grad;
  const auto ids = batch_of_ids(model->config(), 1, 12);
  KvCache cache(model->config(), 1, 12, at::kFloat);
  EXPECT_LT(largest_difference(model->hidden_states(ids, &cache), model->hidden_states(ids)), 1e-5);
  EXPECT_THROW(model->set_recompute_layers(-1), c10::Error);
}

TEST(Gradients, MatchTheSlopeOfTheLoss) {
  for (const auto position : {kAlibi, kRope}) {
    auto config = small_config(position);
    config.norm_head = position == kRope;
    const auto model = hashed_model(config, 100, at::kDouble);
    train_everything(*model);
    const auto ids = batch_of_ids(config, 2, 9).clamp_min(1);  // no padding: its row gets no gradient
    const auto loss = [&] {
      return at::cross_entropy_loss(model->logits(model->hidden_states(ids)).flatten(0, 1), ids.flatten());
    };
    loss().backward();
    for (auto& item : model->named_parameters()) {
      auto p = item.value().detach();
      torch::manual_seed(1);
      const auto direction = torch::randn(p.sizes(), p.options());
      const double slope = (item.value().grad() * direction).sum().item<double>();
      const double step = 1e-5;
      p.add_(direction, step);
      const double above = loss().item<double>();
      p.add_(direction, -2 * step);
      const double below = loss().item<double>();
      p.add_(direction, step);
      EXPECT_NEAR(slope, (above - below) / (2 * step), 1e-5 + 1e-5 * std::abs(slope)) << item.key();
    }
  }
}

TEST(Embedding, ThePaddingRowGetsNoGradient) {
  const auto model = hashed_model(small_config(kAlibi), 100);
  train_everything(*model);
  auto ids = batch_of_ids(model->config(), 1, 8);
  ids[0][3] = 0;
  backward(*model, ids);
  const auto gradient = model->model->embed_tokens->weight.grad();
  EXPECT_EQ(gradient[0].abs().max().item<float>(), 0);
  EXPECT_GT(gradient.abs().max().item<float>(), 0);
}

TEST(NormHead, RowsHaveLengthOneAndLogitsAgree) {
  auto config = small_config(kAlibi);
  config.norm_head = true;
  const auto model = hashed_model(config, 100);
  const auto norms = model->head_weight().norm(2, {1});
  EXPECT_LT(largest_difference(norms, at::ones_like(norms)), 1e-6);
  const auto ids = batch_of_ids(config, 1, 10);
  const auto hidden = model->hidden_states(ids).detach();
  const auto training = model->logits(hidden);
  EXPECT_LT(largest_difference(training, at::linear(hidden, model->head_weight())), 1e-5);
  const at::NoGradGuard no_grad;
  EXPECT_LT(largest_difference(model->logits(hidden), training), 1e-5);
  model->lm_head->weight.mul_(3).narrow(0, 0, 1).zero_();
  EXPECT_LT(largest_difference(model->logits(hidden).narrow(2, 1, 319), training.narrow(2, 1, 319)), 1e-5)
      << "length does not matter, and a changed weight is noticed";
  EXPECT_EQ(model->logits(hidden).select(2, 0).abs().max().item<float>(), 0) << "a row of zeros stays one";
}

class DoublingProjection : public Projection {
 public:
  explicit DoublingProjection(std::shared_ptr<Projection> base) : base_(register_module("base", std::move(base))) {}
  at::Tensor forward(const at::Tensor& x) override { return 2 * base_->forward(x); }
  int64_t in_features() const override { return base_->in_features(); }
  int64_t out_features() const override { return base_->out_features(); }

 private:
  std::shared_ptr<Projection> base_;
};

TEST(ProjectionSlots, AreVisitedByNameAndReplaceable) {
  const auto model = hashed_model(small_config(kRope), 100);
  std::vector<std::string> names;
  const at::NoGradGuard no_grad;
  const auto ids = batch_of_ids(model->config(), 1, 6);
  const auto before = model->hidden_states(ids);
  model->for_each_projection([&](const std::string& name, std::shared_ptr<Projection>& slot) {
    names.push_back(name);
    if (name.ends_with("W_pack")) slot = std::make_shared<DoublingProjection>(slot);
  });
  EXPECT_EQ(names.size(), 10u);
  EXPECT_EQ(names[0], "model.layers.0.self_attn.W_pack");
  EXPECT_EQ(names[9], "model.layers.1.mlp.up_proj");
  EXPECT_GT(largest_difference(model->hidden_states(ids), before), 0.01);
  EXPECT_TRUE(model->named_parameters().contains("model.layers.1.self_attn.W_pack.base.weight"));
  EXPECT_THROW(
      model->for_each_projection([](const std::string&, std::shared_ptr<Projection>& slot) { slot = nullptr; }),
      c10::Error);
}

TEST(ComputeDtype, WeightsOfAnotherTypeAreConvertedOnUse) {
  const auto stored = hashed_model(small_config(kAlibi), 100, at::kBFloat16);
  const auto wide = hashed_model(small_config(kAlibi), 100, at::kBFloat16);
  for (auto& p : wide->parameters()) p.set_data(p.data().to(at::kFloat));
  wide->set_compute_dtype(at::kFloat);
  stored->set_compute_dtype(at::kFloat);
  train_everything(*stored);
  train_everything(*wide);
  const auto ids = batch_of_ids(stored->config(), 1, 14);
  EXPECT_EQ(stored->hidden_states(ids).scalar_type(), at::kFloat);
  EXPECT_LT(largest_difference(stored->hidden_states(ids), wide->hidden_states(ids)), 1e-6);
  backward(*stored, ids);
  backward(*wide, ids);
  const auto want = gradients(*wide);
  for (const auto& [name, gradient] : gradients(*stored)) {
    EXPECT_EQ(gradient.scalar_type(), at::kBFloat16) << name;
    EXPECT_LT(relative_difference(gradient, want.at(name)), 0.01) << name;
  }
}

TEST(HiddenStates, WrongInputsAreNamed) {
  const auto model = hashed_model(small_config(kAlibi), 100);
  EXPECT_THROW(model->hidden_states(at::zeros({3}, at::kLong)), c10::Error);
  EXPECT_THROW(model->hidden_states(at::zeros({1, 3}, at::kInt)), c10::Error);
  EXPECT_THROW(model->hidden_states(at::zeros({1, 0}, at::kLong)), c10::Error);
  KvCache cache(model->config(), 1, 4, at::kFloat);
  EXPECT_THROW(model->hidden_states(at::zeros({1, 3}, at::kLong), &cache), c10::Error) << "gradients and a cache";
}

}  // namespace
}  // namespace baichuan
