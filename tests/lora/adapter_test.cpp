#include "lora/adapter.h"

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/files.h"
#include "io/checkpoint_reader.h"
#include "io/checkpoint_writer.h"
#include "kernels/linear_cross_entropy.h"
#include "tests/model/test_models.h"
#include "tests/scratch_directory.h"

namespace baichuan {
namespace {

constexpr std::int64_t kSeed = 50;

BaichuanConfig tiny_config() {
  BaichuanConfig config = small_config(PositionEmbedding::kAlibi);
  config.hidden_size = 40;
  config.intermediate_size = 48;
  config.vocab_size = 64;
  return config;
}

std::shared_ptr<BaichuanForCausalLM> tiny_model(at::ScalarType dtype = at::kFloat) {
  return hashed_model(tiny_config(), kSeed, dtype);
}

LoraOptions options_for(const std::string& target, std::int64_t rank = 4) {
  LoraOptions options;
  options.lora_rank = rank;
  options.lora_target = target;
  return options;
}

at::Tensor logits_of(BaichuanForCausalLM& model) {
  const at::NoGradGuard no_grad;
  return model.logits(model.hidden_states(hashed_ids(model.config(), 3, 17)));
}

// B as training would leave it.
void fill_b(const LoraAdapter& adapter, std::int64_t seed) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, value] : adapter.parameters())
    if (name.ends_with("lora_B.weight")) value.copy_((hashed(seed++, value.numel()) - 0.5).view(value.sizes()) * 0.3);
}

template <class Body>
std::string checkpoint_error(const Body& body) {
  try {
    body();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

void expect_part(const std::string& message, const std::string& part) {
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST(LoraAttach, NewAdaptersChangeNothingYet) {
  const auto model = tiny_model();
  const auto before = logits_of(*model);
  const auto adapter = LoraAdapter::attach(*model, options_for("all"), 1);
  EXPECT_TRUE(logits_of(*model).equal(before));
  EXPECT_EQ(adapter.parameters().size(), 2u * 5 * 2);
}

TEST(LoraAttach, NamesAreExactlyPefts) {
  const auto model = tiny_model();
  const auto adapter = LoraAdapter::attach(*model, options_for("W_pack"), 1);
  std::vector<std::string> names;
  for (const auto& [name, value] : adapter.parameters()) {
    names.push_back(name);
    EXPECT_EQ(value.scalar_type(), at::kFloat);
    EXPECT_TRUE(value.requires_grad() && value.is_leaf());
  }
  EXPECT_EQ(names, std::vector<std::string>({"base_model.model.model.layers.0.self_attn.W_pack.lora_A.weight",
                                             "base_model.model.model.layers.0.self_attn.W_pack.lora_B.weight",
                                             "base_model.model.model.layers.1.self_attn.W_pack.lora_A.weight",
                                             "base_model.model.model.layers.1.self_attn.W_pack.lora_B.weight"}));
}

TEST(LoraAttach, BeginningsAreUniformAndAFunctionOfSeedAndName) {
  const auto first = tiny_model(), second = tiny_model(), third = tiny_model();
  const auto alone = LoraAdapter::attach(*first, options_for("o_proj", 64), 7).parameters();
  const auto among_others = LoraAdapter::attach(*second, options_for("all", 64), 7).parameters();
  const auto other_seed = LoraAdapter::attach(*third, options_for("o_proj", 64), 8).parameters();
  const auto& a = alone[0].second;
  const double bound = 1 / std::sqrt(40.0);
  EXPECT_LE(a.abs().max().item<double>(), bound);
  EXPECT_GT(a.abs().max().item<double>(), 0.99 * bound);
  // 2,560 values: three standard deviations of the mean and of the mean square.
  EXPECT_NEAR(a.mean().item<double>(), 0, 3 * bound / std::sqrt(3.0 * 2560));
  EXPECT_NEAR(a.square().mean().item<double>() * 3 / (bound * bound), 1, 0.06);
  EXPECT_FALSE(a.equal(other_seed[0].second));
  EXPECT_FALSE(a.equal(alone[2].second)) << "layers differ";
  for (const auto& [name, value] : among_others)
    if (name == alone[0].first) {
      EXPECT_TRUE(value.equal(a)) << "other targets do not change it";
    }
}

TEST(LoraSave, ComesBackAsItWas) {
  const ScratchDirectory scratch;
  const auto model = tiny_model();
  auto adapter = LoraAdapter::attach(*model, options_for("W_pack,down_proj"), 1);
  fill_b(adapter, 11);
  adapter.save(scratch / "adapter", "some/base");
  const auto with_adapter = logits_of(*model);

  const auto again = tiny_model();
  const auto loaded = LoraAdapter::load(*again, scratch / "adapter");
  EXPECT_TRUE(logits_of(*again).equal(with_adapter));
  EXPECT_EQ(read_json_file(scratch / "adapter/adapter_config.json"),
            adapter_config_json(adapter.config(), "some/base"));
  const auto reader = CheckpointReader::open(scratch / "adapter/adapter_model.safetensors");
  EXPECT_EQ(reader.metadata().at("format"), "pt");
  EXPECT_EQ(reader.tensors().size(), adapter.parameters().size());
}

TEST(LoraSave, WeightsCanBePutBack) {
  const ScratchDirectory scratch;
  const auto model = tiny_model();
  auto adapter = LoraAdapter::attach(*model, options_for("W_pack"), 1);
  fill_b(adapter, 11);
  adapter.save(scratch.path(), "base");
  const auto saved = logits_of(*model);
  fill_b(adapter, 99);
  EXPECT_FALSE(logits_of(*model).equal(saved));
  adapter.load_weights(scratch.path());
  EXPECT_TRUE(logits_of(*model).equal(saved));
}

TEST(LoraMerge, AnswersAsTheAdapterDoesAndRoundsOnce) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto model = tiny_model(dtype);
    auto adapter = LoraAdapter::attach(*model, options_for("all"), 1);
    fill_b(adapter, 11);
    const auto with_adapter = logits_of(*model);
    const auto parameters = adapter.parameters();
    at::Tensor before;
    tiny_model(dtype)->for_each_projection([&](const std::string& name, std::shared_ptr<Projection>& slot) {
      if (name == "model.layers.0.self_attn.W_pack") before = std::dynamic_pointer_cast<DenseProjection>(slot)->weight;
    });
    adapter.merge_into_base();
    EXPECT_TRUE(adapter.parameters().empty());
    EXPECT_LE(relative_difference(logits_of(*model), with_adapter), dtype == at::kFloat ? 1e-5 : 0.05);
    const auto want =
        (before.to(at::kFloat) + at::mm(parameters[1].second, parameters[0].second) * (32.0 / 4)).to(dtype);
    model->for_each_projection([&](const std::string& name, std::shared_ptr<Projection>& slot) {
      if (name == "model.layers.0.self_attn.W_pack") {
        EXPECT_TRUE(std::dynamic_pointer_cast<DenseProjection>(slot)->weight.equal(want.detach()));
      }
    });
  }
}

// A base that is no plain matrix, as a quantised one.
class OpaqueProjection : public Projection {
 public:
  explicit OpaqueProjection(std::shared_ptr<Projection> inner) : inner_(std::move(inner)) {}
  at::Tensor forward(const at::Tensor& x) override { return inner_->forward(x); }
  std::int64_t in_features() const override { return inner_->in_features(); }
  std::int64_t out_features() const override { return inner_->out_features(); }

 private:
  std::shared_ptr<Projection> inner_;
};

TEST(LoraMerge, NeedsPlainWeights) {
  const auto model = tiny_model();
  model->for_each_projection(
      [](const std::string&, std::shared_ptr<Projection>& slot) { slot = std::make_shared<OpaqueProjection>(slot); });
  auto adapter = LoraAdapter::attach(*model, options_for("W_pack"), 1);
  try {
    adapter.merge_into_base();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              "expected a model with plain weights to merge an adapter into; found model.layers.0.self_attn.W_pack "
              "quantised; load the base without --quantization_bit");
  }
}

TEST(LoraSeveral, AllButTheLastAreMergedAndTheLastGoesOn) {
  const ScratchDirectory scratch;
  for (const auto& [name, seed] : {std::pair{"first", 11}, std::pair{"second", 22}}) {
    const auto model = tiny_model();
    auto adapter = LoraAdapter::attach(*model, options_for("W_pack"), 1);
    fill_b(adapter, seed);
    adapter.save(scratch / name, "base");
  }
  const std::vector<fs::path> directories = {scratch / "first", scratch / "second"};
  const auto model = tiny_model();
  const auto adapter = LoraAdapter::load_all(*model, directories, 0.25);
  EXPECT_EQ(adapter.config().dropout, 0.25);
  EXPECT_EQ(adapter.parameters().size(), 4u);
  const auto both = tiny_model();
  merge_adapter(*both, scratch / "first");
  merge_adapter(*both, scratch / "second");
  EXPECT_LE(largest_difference(logits_of(*model), logits_of(*both)), 2e-5);
}

TEST(LoraRecompute, GivesTheSameGradientsWithDropout) {
  std::vector<std::vector<at::Tensor>> gradients;
  for (const std::int64_t layers : {0, 2}) {
    const auto model = tiny_model();
    model->set_recompute_layers(layers);
    auto adapter = LoraAdapter::attach(*model, options_for("all"), 1);
    fill_b(adapter, 11);
    adapter.set_dropout_key({5, 9, torch::tensor({31}, torch::kInt64)});
    const auto ids = hashed_ids(model->config(), 3, 17);
    linear_cross_entropy(model->hidden_states(ids), model->head_weight(), ids).backward();
    gradients.emplace_back();
    for (const auto& [name, value] : adapter.parameters()) gradients.back().push_back(value.grad());
  }
  for (std::size_t i = 0; i < gradients[0].size(); ++i) EXPECT_TRUE(gradients[0][i].equal(gradients[1][i])) << i;
}

TEST(LoraTraining, DropoutIsOnOnlyWhileTraining) {
  const auto model = tiny_model();
  auto adapter = LoraAdapter::attach(*model, options_for("W_pack"), 1);
  fill_b(adapter, 11);
  const auto without = logits_of(*model);
  adapter.set_dropout_key({5, 9, torch::tensor({31}, torch::kInt64)});
  const auto with = logits_of(*model);
  EXPECT_FALSE(with.equal(without));
  adapter.set_training(false);
  EXPECT_TRUE(logits_of(*model).equal(without));
  adapter.set_training(true);
  EXPECT_TRUE(logits_of(*model).equal(with));
}

class LoraErrors : public testing::Test {
 protected:
  LoraErrors() {
    const auto model = tiny_model();
    auto adapter = LoraAdapter::attach(*model, options_for("W_pack"), 1);
    adapter.save(scratch_.path(), "base");
  }
  void change_config(const std::string& key, const Json& value) {
    Json config = read_json_file(scratch_ / "adapter_config.json");
    config[key] = value;
    write_json_file(scratch_ / "adapter_config.json", config);
  }
  std::string load_error() {
    return checkpoint_error([&] { LoraAdapter::load(*model_, scratch_.path()); });
  }

  ScratchDirectory scratch_;
  std::shared_ptr<BaichuanForCausalLM> model_ = tiny_model();
};

TEST_F(LoraErrors, AnotherBaseIsNamedByTensorAndShape) {
  BaichuanConfig config = tiny_config();
  config.hidden_size = 80;
  model_ = hashed_model(config, kSeed);
  const std::string message = load_error();
  expect_part(message, "adapter_model.safetensors: expected base_model.model.model.layers.0.self_attn.W_pack.lora_A");
  expect_part(message, "to have shape [4, 80]");
  expect_part(message, "found [4, 40]; use an adapter that was trained on this base model");
  // The failed load leaves the model as it was.
  EXPECT_NO_THROW(LoraAdapter::attach(*model_, options_for("W_pack"), 1));
}

TEST_F(LoraErrors, ATargetWithoutWeightsIsNamed) {
  change_config("target_modules", {"W_pack", "o_proj"});
  expect_part(load_error(),
              "expected the tensor base_model.model.model.layers.0.self_attn.o_proj.lora_A.weight, "
              "because adapter_config.json covers model.layers.0.self_attn.o_proj; found none");
}

TEST_F(LoraErrors, WeightsWithoutATargetAreNamed) {
  change_config("layers_to_transform", {0});
  expect_part(load_error(), "found the tensor base_model.model.model.layers.1.self_attn.W_pack.lora_A.weight as well");
}

TEST_F(LoraErrors, TargetsOfAnotherArchitectureAreNamed) {
  change_config("target_modules", {"q_proj", "v_proj"});
  expect_part(load_error(), R"(expected target_modules that name projections of this model, such as W_pack; found )"
                            R"(["q_proj","v_proj"])");
}

TEST_F(LoraErrors, ASecondAdapterInTheSamePlaceIsAMistakeOfTheCaller) {
  const auto adapter = LoraAdapter::attach(*model_, options_for("W_pack"), 1);
  EXPECT_THROW(LoraAdapter::attach(*model_, options_for("all"), 1), c10::Error);
}

TEST(AdapterList, IsSplitAtCommas) {
  EXPECT_EQ(split_adapter_list("a,b/c"), std::vector<fs::path>({"a", "b/c"}));
  for (const char* list : {"", "a,", ",a", "a,,b"}) EXPECT_THROW(split_adapter_list(list), UsageError) << list;
}

}  // namespace
}  // namespace baichuan
