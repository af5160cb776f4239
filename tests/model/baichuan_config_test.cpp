#include "model/baichuan_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files.h"

namespace baichuan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Json config_13b() {
  return {{"architectures", {"BaichuanForCausalLM"}},
          {"model_type", "baichuan"},
          {"auto_map", {{"AutoConfig", "configuration_baichuan.BaichuanConfig"}}},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"pad_token_id", 0},
          {"hidden_act", "silu"},
          {"hidden_size", 5120},
          {"intermediate_size", 13696},
          {"model_max_length", 4096},
          {"num_attention_heads", 40},
          {"num_hidden_layers", 40},
          {"rms_norm_eps", 1e-6},
          {"tie_word_embeddings", false},
          {"vocab_size", 64000}};
}

Json config_7b() {
  Json json = config_13b();
  json.erase("model_max_length");
  json.update({{"architectures", {"BaiChuanForCausalLM"}},
               {"hidden_size", 4096},
               {"intermediate_size", 11008},
               {"num_attention_heads", 32},
               {"num_hidden_layers", 32},
               {"max_position_embeddings", 4096}});
  return json;
}

std::string refusal(const Json& json) {
  try {
    parse_baichuan_config(json, "here/config.json");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(BaichuanConfig, PresetsHaveThePublishedParameterCounts) {
  EXPECT_EQ(preset_config("13b").num_parameters(), 13'264'901'120);
  EXPECT_EQ(preset_config("7b").num_parameters(), 7'000'559'616);
  EXPECT_EQ(preset_config("baichuan2-13b").num_parameters(), 13'896'668'160);
  EXPECT_EQ(preset_config("baichuan2-7b").num_parameters(), 7'505'973'248);
}

TEST(BaichuanConfig, PresetsAreValidAndTheirNamesAreChecked) {
  for (const char* name : {"7b", "13b", "baichuan2-7b", "baichuan2-13b"})
    EXPECT_NO_THROW(preset_config(name).validate());
  EXPECT_EQ(preset_config("tiny").vocab_size, 0) << "the vocabulary of tiny is the tokenizer's";
  try {
    preset_config("14b");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("14b"), HasSubstr("baichuan2-13b")));
  }
}

TEST(BaichuanConfig, TheThirteenBillionModelUsesAlibi) {
  const auto config = parse_baichuan_config(config_13b(), "config.json");
  EXPECT_EQ(config.position, PositionEmbedding::kAlibi);
  EXPECT_FALSE(config.norm_head);
  EXPECT_EQ(config.head_dim(), 128);
  EXPECT_EQ(config.max_positions, 4096);
}

TEST(BaichuanConfig, TheSevenBillionModelUsesRope) {
  const auto config = parse_baichuan_config(config_7b(), "config.json");
  EXPECT_EQ(config.position, PositionEmbedding::kRope);
  EXPECT_EQ(config.max_positions, 4096);
}

TEST(BaichuanConfig, PositionsFollowTheContextKeyUnlessTheHiddenSizeIs4096) {
  Json json = config_13b();
  json["max_position_embeddings"] = 2048;
  EXPECT_EQ(parse_baichuan_config(json, "").position, PositionEmbedding::kAlibi) << "both keys";
  EXPECT_EQ(parse_baichuan_config(json, "").max_positions, 4096);
  json.erase("model_max_length");
  EXPECT_EQ(parse_baichuan_config(json, "").position, PositionEmbedding::kRope) << "max_position_embeddings alone";
  json = config_7b();
  json["model_max_length"] = 4096;
  EXPECT_EQ(parse_baichuan_config(json, "").position, PositionEmbedding::kRope) << "Baichuan2-7B has both keys";
}

TEST(BaichuanConfig, NormHeadFollowsTheVocabulary) {
  Json json = config_13b();
  json["vocab_size"] = 125696;
  EXPECT_TRUE(parse_baichuan_config(json, "").norm_head);
  json["norm_head"] = false;
  EXPECT_FALSE(parse_baichuan_config(json, "").norm_head);
}

TEST(BaichuanConfig, ConfigJsonOverridesBothRules) {
  Json json = config_13b();
  json["position_embedding"] = "rope";
  json["norm_head"] = true;
  const auto config = parse_baichuan_config(json, "");
  EXPECT_EQ(config.position, PositionEmbedding::kRope);
  EXPECT_TRUE(config.norm_head);
  json["position_embedding"] = "sinus";
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("position_embedding"), HasSubstr("sinus")));
}

TEST(BaichuanConfig, ArchitectureKeysHaveNoSilentDefault) {
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "rms_norm_eps", "model_max_length"}) {
    Json json = config_13b();
    json.erase(key);
    EXPECT_THAT(refusal(json), AllOf(HasSubstr("here/config.json"), HasSubstr(key), HasSubstr("missing")));
  }
}

TEST(BaichuanConfig, AnotherArchitectureIsNamed) {
  Json json = config_13b();
  json["model_type"] = "llama";
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("model_type"), HasSubstr("llama")));
  json = config_13b();
  json["architectures"] = {"LlamaForCausalLM"};
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("architectures"), HasSubstr("LlamaForCausalLM")));
  json.erase("architectures");
  json.erase("model_type");
  EXPECT_THAT(refusal(json), HasSubstr("nothing"));
}

TEST(BaichuanConfig, EveryBrokenRuleIsNamedAtOnce) {
  Json json = config_13b();
  json["num_attention_heads"] = 48;
  json["rms_norm_eps"] = -1;
  json["eos_token_id"] = 64000;
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("hidden_size (5120) must be a multiple of num_attention_heads (48)"),
                                   HasSubstr("rms_norm_eps"), HasSubstr("eos_token_id (64000)")));
  json = config_13b();
  json["hidden_size"] = "5120";
  json["num_hidden_layers"] = 40.5;
  EXPECT_THAT(refusal(json), AllOf(HasSubstr("\"hidden_size\" must be an integer, found \"5120\""), HasSubstr("40.5")));
}

TEST(BaichuanConfig, MathsThatBaichuanDoesNotHaveIsRefused) {
  const auto with = [](const char* key, Json value) {
    Json json = config_13b();
    json[key] = std::move(value);
    return refusal(json);
  };
  EXPECT_THAT(with("num_key_value_heads", 8), HasSubstr("num_key_value_heads"));
  EXPECT_THAT(with("hidden_act", "gelu"), HasSubstr("gelu"));
  EXPECT_THAT(with("tie_word_embeddings", true), HasSubstr("tie_word_embeddings"));
  EXPECT_THAT(with("rope_theta", 500000), HasSubstr("500000"));
  EXPECT_THAT(with("rope_scaling", {{"type", "linear"}}), HasSubstr("rope_scaling"));
  EXPECT_EQ(with("num_key_value_heads", 40), "accepted");
}

TEST(BaichuanConfig, WrittenConfigurationsReadBackTheSame) {
  for (const char* name : {"7b", "13b", "baichuan2-7b", "baichuan2-13b"}) {
    const auto config = preset_config(name);
    const Json json = Json::parse(to_config_json(config, "bfloat16").dump());
    const auto back = parse_baichuan_config(json, name);
    EXPECT_EQ(back.num_parameters(), config.num_parameters()) << name;
    EXPECT_EQ(back.position, config.position) << name;
    EXPECT_EQ(back.norm_head, config.norm_head) << name;
    EXPECT_EQ(json["torch_dtype"], "bfloat16");
    EXPECT_FALSE(json.contains("position_embedding")) << name << ": the rules say it already";
  }
}

TEST(BaichuanConfig, WhatTheRulesWouldNotFindIsWrittenDown) {
  auto config = preset_config("baichuan2-7b");
  config.hidden_size = 2048;
  config.vocab_size = 1000;
  const Json json = Json::parse(to_config_json(config, "float32").dump());
  const auto back = parse_baichuan_config(json, "");
  EXPECT_EQ(back.position, PositionEmbedding::kRope);
  EXPECT_TRUE(back.norm_head);
}

TEST(BaichuanConfig, KeysOfTheSourceAreKept) {
  const auto config = parse_baichuan_config(config_13b(), "");
  const auto json = to_config_json(config, "float16");
  EXPECT_EQ(json["auto_map"]["AutoConfig"], "configuration_baichuan.BaichuanConfig");
  EXPECT_EQ(json["torch_dtype"], "float16");
  EXPECT_FALSE(json.contains("max_position_embeddings")) << "it would make other readers take the model for a 7B";
}

TEST(BaichuanConfig, AMissingFileIsNamed) {
  try {
    load_baichuan_config("/nonexistent/model.json");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/nonexistent/model.json"));
  }
}

}  // namespace
}  // namespace baichuan
