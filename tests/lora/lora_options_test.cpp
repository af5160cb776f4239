#include "lora/lora_options.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/options.h"

namespace baichuan {
namespace {

using Names = std::vector<std::string>;

std::string usage_error(const std::string& target) {
  try {
    parse_lora_target(target);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(LoraTarget, TakesNamesAndAll) {
  EXPECT_EQ(parse_lora_target("W_pack"), Names({"W_pack"}));
  EXPECT_EQ(parse_lora_target("o_proj, W_pack,o_proj"), Names({"o_proj", "W_pack"}));
  EXPECT_EQ(parse_lora_target("all"), Names({"W_pack", "o_proj", "gate_proj", "up_proj", "down_proj"}));
}

TEST(LoraTarget, NamesThePossibleOnesForAnUnknownOne) {
  EXPECT_EQ(usage_error("W_pack,lm_head"),
            "--lora_target expects names from W_pack, o_proj, gate_proj, up_proj, down_proj, or all; found 'lm_head'; "
            "separate several names by commas");
  EXPECT_NE(usage_error("").find("found ''"), std::string::npos);
  EXPECT_NE(usage_error("W_pack,").find("found ''"), std::string::npos);
}

TEST(LoraTarget, TellsWhereQueryKeyAndValueAre) {
  for (const char* name : {"q_proj", "k_proj", "v_proj"})
    EXPECT_NE(usage_error(name).find("Baichuan packs q, k and v in W_pack"), std::string::npos) << name;
}

TEST(LoraOptionsTable, HasTheDefaultsOf2023) {
  LoraOptions options;
  OptionTable table;
  table.add("LoRA", options);
  EXPECT_EQ(table.to_json().dump(), R"({"lora_rank":8,"lora_alpha":32.0,"lora_dropout":0.1,"lora_target":"W_pack"})");
}

}  // namespace
}  // namespace baichuan
