#include "model/load_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/files.h"
#include "io/checkpoint_writer.h"
#include "tests/model/test_models.h"
#include "tests/scratch_directory.h"

namespace baichuan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using Tensors = std::map<std::string, at::Tensor>;

Tensors tensors_of(const BaichuanForCausalLM& model) {
  Tensors tensors;
  for (const auto& item : model.named_parameters()) tensors[item.key()] = item.value().detach();
  return tensors;
}

void save(const fs::path& directory,
          const BaichuanConfig& config,
          const Tensors& tensors,
          CheckpointWriteOptions options = {}) {
  write_json_file(directory / "config.json", to_config_json(config, "float32"));
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  CheckpointWriter writer(directory, specs, options);
  for (const auto& [name, tensor] : tensors) writer.write(name, tensor);
  writer.finish();
}

std::string refusal(const fs::path& directory) {
  try {
    load_model(directory);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "accepted";
}

class LoadModel : public testing::Test {
 protected:
  const BaichuanConfig config_ = small_config(PositionEmbedding::kAlibi);
  const std::shared_ptr<BaichuanForCausalLM> model_ = hashed_model(config_, 100);
  const ScratchDirectory directory_;
};

TEST_F(LoadModel, ReadsWhatWasWrittenInEveryForm) {
  for (const auto format : {CheckpointFormat::kSafetensors, CheckpointFormat::kBin})
    for (const int64_t shard : {int64_t{2'000'000'000}, int64_t{300'000}}) {
      const ScratchDirectory directory;
      save(directory.path(), config_, tensors_of(*model_), {.format = format, .max_shard_bytes = shard});
      const auto loaded = load_model(directory.path());
      EXPECT_EQ(loaded->compute_dtype(), at::kFloat);
      for (const auto& [name, tensor] : tensors_of(*loaded)) {
        EXPECT_TRUE(at::equal(tensor, tensors_of(*model_).at(name))) << name;
        EXPECT_FALSE(tensor.requires_grad());
      }
    }
}

TEST_F(LoadModel, ConvertsOnTheWay) {
  save(directory_.path(), config_, tensors_of(*model_));
  const auto loaded = load_model(directory_.path(), {.dtype = at::kBFloat16});
  for (const auto& [name, tensor] : tensors_of(*loaded))
    EXPECT_TRUE(at::equal(tensor, tensors_of(*model_).at(name).to(at::kBFloat16))) << name;
}

TEST_F(LoadModel, TheStoredTypeCountsNotTheOneInTheConfiguration) {
  auto tensors = tensors_of(*model_);
  for (auto& [name, tensor] : tensors) tensor = tensor.to(name.find("norm") == name.npos ? at::kHalf : at::kFloat);
  save(directory_.path(), config_, tensors);
  EXPECT_EQ(load_model(directory_.path())->compute_dtype(), at::kHalf);
}

TEST_F(LoadModel, BuffersThatAreComputedHereAreIgnored) {
  auto tensors = tensors_of(*model_);
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = at::zeros({16});
  tensors["model.future_mask"] = at::zeros({5, 4, 4});
  tensors["model.layers.1.alibi_mask"] = at::zeros({4});
  tensors["decoder.version"] = at::zeros({1});
  save(directory_.path(), config_, tensors);
  EXPECT_EQ(refusal(directory_.path()), "accepted");
}

TEST_F(LoadModel, AMissingTensorIsNamed) {
  auto tensors = tensors_of(*model_);
  tensors.erase("model.layers.1.mlp.up_proj.weight");
  save(directory_.path(), config_, tensors);
  EXPECT_THAT(refusal(directory_.path()),
              AllOf(HasSubstr("missing: model.layers.1.mlp.up_proj.weight"), HasSubstr(directory_.path().string())));
}

TEST_F(LoadModel, AnUnexpectedTensorIsNamedWithItsFile) {
  auto tensors = tensors_of(*model_);
  tensors["model.layers.2.self_attn.o_proj.weight"] = at::zeros({160, 160});
  save(directory_.path(), config_, tensors);
  EXPECT_THAT(refusal(directory_.path()),
              AllOf(HasSubstr("not part of the model: model.layers.2.self_attn.o_proj.weight"),
                    HasSubstr("model.safetensors"), HasSubstr("num_hidden_layers=2")));
}

TEST_F(LoadModel, AWrongShapeIsNamedWithFileExpectedAndFound) {
  auto tensors = tensors_of(*model_);
  tensors["model.layers.0.self_attn.W_pack.weight"] = at::zeros({320, 160});
  save(directory_.path(), config_, tensors);
  EXPECT_THAT(refusal(directory_.path()),
              AllOf(HasSubstr("model.layers.0.self_attn.W_pack.weight"), HasSubstr("model.safetensors"),
                    HasSubstr("expected [480, 160]"), HasSubstr("found [320, 160]")));
}

TEST_F(LoadModel, LongListsOfProblemsAreCut) {
  auto tensors = tensors_of(*model_);
  for (const auto& [name, tensor] : tensors_of(*model_))
    if (name.find("layers") != name.npos) tensors.erase(name);
  save(directory_.path(), config_, tensors);
  EXPECT_THAT(refusal(directory_.path()), HasSubstr("and 10 more"));
}

TEST_F(LoadModel, ACheckpointWithoutNumbersIsRefused) {
  save(directory_.path(), config_, {{"lm_head.weight", at::zeros({2, 2}, at::kLong)}});
  EXPECT_THAT(refusal(directory_.path()), HasSubstr("floating type"));
}

TEST(InitWeights, AreNormalWithTheGivenWidthAndNormsAreOne) {
  auto config = small_config(PositionEmbedding::kAlibi);
  config.vocab_size = 4000;
  BaichuanForCausalLM model(config, at::kFloat);
  init_weights(model, 7);
  const auto embedding = model.model->embed_tokens->weight;
  EXPECT_NEAR(embedding.mean().item<double>(), 0, 1e-4);
  EXPECT_NEAR(embedding.std().item<double>(), 0.02, 1e-4);
  // Kurtosis 3 and independent neighbours.
  EXPECT_NEAR((embedding / 0.02).pow(4).mean().item<double>(), 3, 0.05);
  const auto flat = embedding.flatten() / 0.02;
  EXPECT_NEAR((flat.narrow(0, 0, 600000) * flat.narrow(0, 1, 600000)).mean().item<double>(), 0, 0.01);
  EXPECT_TRUE(at::equal(model.model->norm->weight, at::ones({160})));
}

TEST(InitWeights, AreAFunctionOfSeedNameAndElement) {
  const auto config = small_config(PositionEmbedding::kRope);
  BaichuanForCausalLM a(config, at::kFloat), b(config, at::kFloat), c(config, at::kBFloat16);
  init_weights(a, 7);
  at::set_num_threads(1);
  init_weights(b, 7);
  init_weights(c, 7);
  at::set_num_threads(2);
  for (const auto& [name, tensor] : tensors_of(a)) {
    EXPECT_TRUE(at::equal(tensor, tensors_of(b).at(name))) << name;
    EXPECT_TRUE(at::equal(tensor.to(at::kBFloat16), tensors_of(c).at(name))) << name;
  }
  init_weights(b, 8);
  EXPECT_FALSE(at::equal(a.lm_head->weight, b.lm_head->weight));
  EXPECT_FALSE(at::equal(a.lm_head->weight, a.model->embed_tokens->weight)) << "names have streams of their own";
  auto piece = at::empty({100, 160});
  fill_initial_weight(piece, "lm_head.weight", 7, config.initializer_range, 20 * 160);
  EXPECT_TRUE(at::equal(piece, a.lm_head->weight.narrow(0, 20, 100))) << "a piece is the piece of the whole";
}

}  // namespace
}  // namespace baichuan
