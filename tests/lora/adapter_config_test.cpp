#include "lora/adapter_config.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files.h"
#include "tests/scratch_directory.h"

namespace baichuan {
namespace {

class AdapterConfigFile : public testing::Test {
 protected:
  AdapterConfig read(const std::string& text) {
    write_file_atomically(scratch_ / "adapter_config.json", text);
    return read_adapter_config(scratch_.path());
  }
  std::string error_of(const std::string& text) {
    try {
      read(text);
    } catch (const CheckpointError& error) {
      return error.what();
    }
    return "nothing was thrown";
  }
  void expect_error(const std::string& text, const std::string& part) {
    EXPECT_NE(error_of(text).find(part), std::string::npos) << error_of(text);
  }
  // A minimal file with more keys.
  static std::string with(const std::string& more) {
    return R"({"r": 4, "lora_alpha": 8, "target_modules": ["W_pack"], )" + more + "}";
  }

  ScratchDirectory scratch_;
};

TEST_F(AdapterConfigFile, IsReadWithoutTheKeysThatChangeNothing) {
  const AdapterConfig config =
      read(R"({"r": 4, "lora_alpha": 8.5, "target_modules": ["W_pack"], "new_key": {"a": 1}})");
  EXPECT_EQ(config.rank, 4);
  EXPECT_EQ(config.alpha, 8.5);
  EXPECT_EQ(config.dropout, 0);
  EXPECT_EQ(config.scaling_of("model.layers.0.self_attn.W_pack"), 8.5 / 4);
}

TEST_F(AdapterConfigFile, CoversModulesByNameOrByWhatFollowsADot) {
  const AdapterConfig config = read(with(R"("layers_to_transform": [1, 3])"));
  EXPECT_TRUE(config.covers("model.layers.1.self_attn.W_pack"));
  EXPECT_FALSE(config.covers("model.layers.2.self_attn.W_pack"));
  EXPECT_FALSE(config.covers("model.layers.1.self_attn.oW_pack"));
  EXPECT_TRUE(read(with(R"("layers_to_transform": 2)")).covers("model.layers.2.self_attn.W_pack"));
  const AdapterConfig expression = read(R"({"r": 1, "lora_alpha": 1, "target_modules": ".*\\.(up|gate)_proj"})");
  EXPECT_TRUE(expression.covers("model.layers.0.mlp.up_proj"));
  EXPECT_FALSE(expression.covers("model.layers.0.mlp.down_proj"));
  EXPECT_TRUE(
      read(R"({"r": 1, "lora_alpha": 1, "target_modules": "all-linear"})").covers("model.layers.0.mlp.down_proj"));
}

TEST_F(AdapterConfigFile, PatternsAndRankStabilisationChangeTheScale) {
  const AdapterConfig config = read(
      with(R"("use_rslora": true, "rank_pattern": {"layers.1.*": 9, "W_pack": 16}, "alpha_pattern": {"o_proj": 2})"));
  EXPECT_EQ(config.rank_of("model.layers.1.self_attn.W_pack"), 9);  // the first match counts
  EXPECT_EQ(config.rank_of("model.layers.0.self_attn.W_pack"), 16);
  EXPECT_EQ(config.rank_of("model.layers.0.self_attn.o_proj"), 4);
  EXPECT_DOUBLE_EQ(config.scaling_of("model.layers.0.self_attn.W_pack"), 8 / 4.0);
  EXPECT_DOUBLE_EQ(config.scaling_of("model.layers.0.self_attn.o_proj"), 2 / 2.0);
}

TEST_F(AdapterConfigFile, RefusesOtherArithmeticByName) {
  for (const char* key : {"alora_invocation_tokens", "arrow_config", "exclude_modules", "fan_in_fan_out", "kasa_config",
                          "layer_replication", "lora_bias", "modules_to_save", "monteclora_config", "target_parameters",
                          "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora", "velora_config"}) {
    expect_error(with(fmt::format(R"("{}": ["x"])", key)), fmt::format("found {} = [\"x\"], which changes", key));
    EXPECT_NO_THROW(read(with(fmt::format(R"("{}": null)", key)))) << key;
    EXPECT_NO_THROW(read(with(fmt::format(R"("{}": false)", key)))) << key;
  }
  expect_error(with(R"("peft_type": "IA3")"), "found peft_type = \"IA3\"");
  expect_error(with(R"("bias": "all")"), "found bias = \"all\"");
  expect_error(with(R"("init_lora_weights": "pissa_niter_4")"), "found init_lora_weights = \"pissa_niter_4\"");
  EXPECT_NO_THROW(read(with(R"("init_lora_weights": "gaussian")")));
}

TEST_F(AdapterConfigFile, NamesWhatIsMissingOrWrong) {
  expect_error(R"({"lora_alpha": 8, "target_modules": ["W_pack"]})", "expected the key r; found none");
  expect_error(R"({"r": 0, "lora_alpha": 8, "target_modules": ["W_pack"]})",
               "expected a positive integer as r; found 0");
  expect_error(R"({"r": 8, "lora_alpha": "x", "target_modules": ["W_pack"]})", "expected a number as lora_alpha");
  expect_error(R"({"r": 8, "lora_alpha": 8, "target_modules": []})", "expected names as target_modules; found []");
  expect_error(R"({"r": 8, "lora_alpha": 8, "target_modules": [3]})", "expected names as target_modules; found 3");
  expect_error(R"({"r": 8, "lora_alpha": 8, "target_modules": "(("})", "expected a regular expression; found '(('");
  expect_error(with(R"("lora_dropout": 1.5)"), "found 1.5");
  expect_error(with(R"("layers_to_transform": ["a"])"), "expected layer numbers as layers_to_transform; found \"a\"");
  expect_error(with(R"("rank_pattern": {"o_proj": 0})"), "expected a positive integer as rank_pattern.o_proj; found 0");
  expect_error(with(R"("alpha_pattern": {"o_proj": "x"})"), "expected a number as alpha_pattern.o_proj");
  expect_error("[]", "expected a JSON object");
}

TEST_F(AdapterConfigFile, IsNamedWhenItIsNotThere) {
  try {
    read_adapter_config(scratch_ / "nowhere");
    FAIL() << "nothing was thrown";
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("nowhere/adapter_config.json: expected an adapter's directory"),
              std::string::npos);
  }
}

TEST(AdapterConfigJson, HasExactlyPeftsKeysOf2023Sorted) {
  AdapterConfig config;
  config.rank = 8;
  config.alpha = 32;
  config.dropout = 0.1;
  config.targets = {"W_pack"};
  EXPECT_EQ(adapter_config_json(config, "baichuan-inc/Baichuan-13B-Base").dump(),
            R"({"auto_mapping":null,"base_model_name_or_path":"baichuan-inc/Baichuan-13B-Base","bias":"none",)"
            R"("fan_in_fan_out":false,"inference_mode":true,"init_lora_weights":true,"layers_pattern":null,)"
            R"("layers_to_transform":null,"lora_alpha":32.0,"lora_dropout":0.1,"modules_to_save":null,)"
            R"("peft_type":"LORA","r":8,"revision":null,"target_modules":["W_pack"],"task_type":"CAUSAL_LM"})");
}

TEST_F(AdapterConfigFile, IsReadBackAsItWasWritten) {
  const AdapterConfig config = read(with(
      R"("use_rslora": true, "rank_pattern": {"W_pack": 16}, "alpha_pattern": {"o_proj": 2}, "layers_to_transform": [0])"));
  const AdapterConfig again = read(adapter_config_json(config, "base").dump());
  for (const char* module : {"model.layers.0.self_attn.W_pack", "model.layers.1.self_attn.W_pack"}) {
    EXPECT_EQ(again.covers(module), config.covers(module));
    EXPECT_EQ(again.scaling_of(module), config.scaling_of(module));
    EXPECT_EQ(again.rank_of(module), config.rank_of(module));
  }
}

}  // namespace
}  // namespace baichuan
