// Adapters that PEFT wrote, and what PEFT computes with them (tools/oracles/make_lora_oracle.py).
#include <filesystem>

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/json.h"
#include "io/checkpoint_reader.h"
#include "kernels/linear_cross_entropy.h"
#include "lora/adapter.h"
#include "tests/model/test_models.h"

namespace baichuan {
namespace {

const fs::path kData = fs::path(BAICHUAN_SOURCE_DIR) / "tests/data/lora";
constexpr std::int64_t kSeed = 700;
constexpr std::int64_t kLength = 23;

BaichuanConfig oracle_config() {
  const Json json = read_json_file(kData / "made_with.json")["config"];
  BaichuanConfig config;
  config.vocab_size = json["vocab_size"];
  config.hidden_size = json["hidden_size"];
  config.intermediate_size = json["intermediate_size"];
  config.num_layers = json["num_hidden_layers"];
  config.num_heads = json["num_attention_heads"];
  config.max_positions = 4096;
  config.rms_norm_eps = json["rms_norm_eps"];
  config.position = PositionEmbedding::kAlibi;
  return config;
}

at::Tensor log_probabilities(BaichuanForCausalLM& model) {
  const auto hidden = model.hidden_states(hashed_ids(model.config(), kSeed + 1000, kLength));
  return torch::log_softmax(model.logits(hidden), -1)[0];
}

class PeftOracle : public testing::TestWithParam<const char*> {
 protected:
  PeftOracle() : config_(oracle_config()), model_(hashed_model(config_, kSeed)) {}
  CheckpointReader expected() const {
    return CheckpointReader::open(kData / (std::string(GetParam()) + ".expected.safetensors"));
  }
  BaichuanConfig config_;
  std::shared_ptr<BaichuanForCausalLM> model_;
};

TEST_P(PeftOracle, LogProbabilitiesAreThoseOfPeft) {
  const at::NoGradGuard no_grad;
  const auto base = log_probabilities(*model_);
  LoraAdapter adapter = LoraAdapter::load(*model_, kData / GetParam());
  const auto want = expected().read("log_probabilities");
  EXPECT_LE(largest_difference(log_probabilities(*model_), want), 2e-5);
  EXPECT_GT(largest_difference(base, want), 0.05) << "the adapter must matter";
  adapter.set_enabled(false);
  EXPECT_TRUE(log_probabilities(*model_).equal(base));
  adapter.set_enabled(true);
  adapter.detach();
  EXPECT_TRUE(log_probabilities(*model_).equal(base));
}

TEST_P(PeftOracle, GradientsAreThoseOfPeft) {
  LoraAdapter adapter = LoraAdapter::load(*model_, kData / GetParam());
  const auto ids = hashed_ids(config_, kSeed + 1000, kLength);
  const auto hidden = model_->hidden_states(ids)[0].narrow(0, 0, kLength - 1);
  linear_cross_entropy(hidden, model_->head_weight(), ids[0].narrow(0, 1, kLength - 1)).backward();
  const auto reader = expected();
  std::size_t gradients = 0;
  for (const auto& [name, parameter] : adapter.parameters()) {
    const auto want = reader.read("gradient." + name);
    EXPECT_LE(relative_difference(parameter.grad(), want), 2e-5) << name;
    ++gradients;
  }
  EXPECT_EQ(gradients + 1, reader.tensors().size()) << "every gradient of PEFT has its counterpart";
}

TEST_P(PeftOracle, MergedAnswersAsTheAdapterDoes) {
  const at::NoGradGuard no_grad;
  merge_adapter(*model_, kData / GetParam());
  EXPECT_LE(largest_difference(log_probabilities(*model_), expected().read("log_probabilities")), 2e-5);
  model_->for_each_projection([](const std::string& name, std::shared_ptr<Projection>& slot) {
    EXPECT_NE(std::dynamic_pointer_cast<DenseProjection>(slot), nullptr) << name;
  });
}

INSTANTIATE_TEST_SUITE_P(Adapters,
                         PeftOracle,
                         testing::Values("w_pack", "patterns", "expression", "one_layer"),
                         [](const testing::TestParamInfo<const char*>& tested) { return std::string(tested.param); });

TEST(PeftPickle, GivesTheSameAdapterAsSafetensors) {
  const auto config = oracle_config();
  const auto first = hashed_model(config, kSeed);
  const auto second = hashed_model(config, kSeed);
  const auto from_safetensors = LoraAdapter::load(*first, kData / "w_pack");
  const auto from_pickle = LoraAdapter::load(*second, kData / "pickled");
  const auto a = from_safetensors.parameters();
  const auto b = from_pickle.parameters();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    EXPECT_TRUE(a[i].second.equal(b[i].second));
  }
}

}  // namespace
}  // namespace baichuan
