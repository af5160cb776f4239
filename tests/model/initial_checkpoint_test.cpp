#include "model/initial_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/files.h"
#include "io/checkpoint_reader.h"
#include "model/default_files.h"
#include "model/load_weights.h"
#include "tests/model/test_models.h"
#include "tests/scratch_directory.h"

namespace baichuan {
namespace {

TEST(InitialCheckpoint, HoldsWhatInitWeightsGives) {
  auto config = small_config(PositionEmbedding::kAlibi);
  config.vocab_size = 250'001;  // more than one piece, and no multiple of anything
  const ScratchDirectory directory;
  ASSERT_TRUE(write_initial_checkpoint(config, at::kBFloat16, 5, directory.path(), {}));
  const auto loaded = load_model(directory.path());
  EXPECT_EQ(loaded->compute_dtype(), at::kBFloat16);
  BaichuanForCausalLM want(config, at::kBFloat16);
  init_weights(want, 5);
  const auto found = loaded->named_parameters();
  for (const auto& item : want.named_parameters())
    EXPECT_TRUE(at::equal(found[item.key()], item.value())) << item.key();
}

TEST(InitialCheckpoint, NamesEveryParameterOfTheModel) {
  for (const auto position : {PositionEmbedding::kAlibi, PositionEmbedding::kRope}) {
    const auto config = small_config(position);
    const BaichuanForCausalLM model(config, at::kFloat);
    const auto parameters = model.named_parameters();
    const auto specs = parameter_specs(config, at::kFloat);
    ASSERT_EQ(specs.size(), parameters.size());
    for (const auto& spec : specs) EXPECT_EQ(parameters[spec.name].sizes(), at::IntArrayRef(spec.shape)) << spec.name;
  }
  int64_t elements = 0;
  const auto specs = parameter_specs(preset_config("13b"), at::kBFloat16);
  for (const auto& spec : specs) elements += spec.numel();
  EXPECT_EQ(specs.size(), 283u);
  EXPECT_EQ(elements, 13'264'901'120);
}

TEST(InitialCheckpoint, AStoppedRunLeavesNothing) {
  const ScratchDirectory directory;
  const auto config = small_config(PositionEmbedding::kAlibi);
  int calls = 0;
  EXPECT_FALSE(
      write_initial_checkpoint(config, at::kFloat, 5, directory.path(), {}, [&](int64_t written, int64_t total) {
        EXPECT_EQ(total, 4 * config.num_parameters());
        EXPECT_LE(written, total);
        return ++calls < 3;
      }));
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST(DefaultFiles, HoldThePublishedValuesWithoutChatRoles) {
  const auto generation = default_generation_config(preset_config("13b"));
  EXPECT_EQ(generation["repetition_penalty"], 1.1);
  EXPECT_EQ(generation["eos_token_id"], 2);
  EXPECT_FALSE(generation.contains("user_token_id"));
  EXPECT_EQ(default_generation_config(preset_config("baichuan2-7b"))["repetition_penalty"], 1.05);
  const auto tokenizer = default_tokenizer_config(preset_config("13b"));
  EXPECT_EQ(tokenizer["add_bos_token"], false);
  EXPECT_EQ(tokenizer["pad_token"]["content"], "<unk>");
  EXPECT_EQ(tokenizer["model_max_length"], 4096);
  EXPECT_EQ(default_special_tokens_map()["eos_token"]["content"], "</s>");
}

}  // namespace
}  // namespace baichuan
