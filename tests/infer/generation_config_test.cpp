#include "infer/generation_config.h"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files.h"

namespace baichuan {

namespace {

class GenerationConfigFile : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) /
                 (std::string("generation_config_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  GenerationConfig load(std::string_view text) {
    write_file_atomically(directory_ / "generation_config.json", text);
    return load_generation_config(directory_, preset_config("13b"));
  }

  // What comes after the file's name.
  std::string message_for(std::string_view text) {
    try {
      load(text);
    } catch (const Error& error) {
      const std::string message = error.what();
      return message.substr(message.find(".json") + 5);
    }
    return "accepted";
  }

  std::filesystem::path directory_;
};

TEST_F(GenerationConfigFile, MissingMeansWhatWasPublishedWithTheModel) {
  const GenerationConfig config = load_generation_config(directory_, preset_config("13b"));
  EXPECT_EQ(config.do_sample, true);
  EXPECT_EQ(config.temperature, 0.3);
  EXPECT_EQ(config.top_k, 5);
  EXPECT_EQ(config.top_p, 0.85);
  EXPECT_EQ(config.repetition_penalty, 1.1);
  EXPECT_EQ(config.max_new_tokens, 2048);
  EXPECT_EQ(config.eos_token_ids, std::vector<std::int32_t>{2});
  EXPECT_EQ(config.user_token_id, 195);
  EXPECT_EQ(config.assistant_token_id, 196);
  EXPECT_EQ(load_generation_config(directory_, preset_config("baichuan2-13b")).repetition_penalty, 1.05);
}

TEST_F(GenerationConfigFile, ThatLeavesSettingsOutLeavesThemToTheDefaultsOfTransformers) {
  const GenerationConfig config = load(R"({"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2})");
  EXPECT_FALSE(config.do_sample || config.temperature || config.top_k || config.max_new_tokens);
  EXPECT_FALSE(resolve_sampling({}, config).do_sample);
}

TEST_F(GenerationConfigFile, OfThePublishedChatModelIsRead) {
  const GenerationConfig config = load(R"({"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
      "user_token_id": 195, "assistant_token_id": 196, "max_new_tokens": 2048, "temperature": 0.3, "top_k": 5,
      "top_p": 0.85, "repetition_penalty": 1.1, "do_sample": true, "transformers_version": "4.29.2"})");
  EXPECT_EQ(config.do_sample, true);
  EXPECT_EQ(config.temperature, 0.3);
  EXPECT_EQ(config.top_k, 5);
  EXPECT_EQ(config.top_p, 0.85);
  EXPECT_EQ(config.repetition_penalty, 1.1);
  EXPECT_EQ(config.max_new_tokens, 2048);
  EXPECT_EQ(config.eos_token_ids, std::vector<std::int32_t>{2});
}

TEST_F(GenerationConfigFile, MayListSeveralEndIds) {
  EXPECT_EQ(load(R"({"eos_token_id": [2, 195], "top_k": null})").eos_token_ids, (std::vector<std::int32_t>{2, 195}));
}

TEST_F(GenerationConfigFile, NamesTheKeyThatIsWrong) {
  const std::string mend = "; correct the file or remove the key";
  EXPECT_EQ(message_for(R"({"temperature": "hot"})"),
            ": 'temperature' must be a number from 0 to 10000; found \"hot\"" + mend);
  EXPECT_EQ(message_for(R"({"top_p": 1.5})"), ": 'top_p' must be a number from 0 to 1; found 1.5" + mend);
  EXPECT_EQ(message_for(R"({"do_sample": 1})"), ": 'do_sample' must be true or false; found 1" + mend);
  EXPECT_EQ(message_for(R"({"top_k": 2.5})"), ": 'top_k' must be a whole number of at least 0; found 2.5" + mend);
  EXPECT_EQ(message_for(R"({"eos_token_id": [2, -1]})"),
            ": 'eos_token_id' must be a whole number of at least 0; found -1" + mend);
  EXPECT_EQ(message_for("[]"), ": expected a JSON object; found array; copy the file of the published model");
}

TEST(ResolveSampling, FlagsWinOverTheModelAndTheModelOverTheDefaults) {
  GenerationOptions flags;
  GenerationConfig config;
  const SamplingOptions defaults = resolve_sampling(flags, config);
  EXPECT_FALSE(defaults.do_sample);
  EXPECT_EQ(defaults.temperature, 1.0);
  EXPECT_EQ(defaults.top_k, 50);
  EXPECT_EQ(defaults.top_p, 1.0);
  EXPECT_EQ(defaults.repetition_penalty, 1.0);

  config.do_sample = true;
  config.temperature = 0.3;
  config.repetition_penalty = 1.1;
  flags.do_sample = false;
  flags.temperature = 0.8;
  const SamplingOptions chosen = resolve_sampling(flags, config);
  EXPECT_FALSE(chosen.do_sample);
  EXPECT_EQ(chosen.temperature, 0.8);
  EXPECT_EQ(chosen.repetition_penalty, 1.1);
  EXPECT_EQ(chosen.top_k, 50);
}

TEST(GenerationOptions, RefusesBeamSearch) {
  GenerationOptions options;
  EXPECT_NO_THROW(options.validate());
  options.num_beams = 4;
  try {
    options.validate();
    FAIL() << "four beams were accepted";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "--num_beams must be 1: beam search is not built; found 4");
  }
}

TEST(GenerationOptions, KeepsTheNamesOfTheTrainingParser) {
  GenerationOptions options;
  OptionTable table;
  table.add("Generation", options);
  for (const char* name : {"max_new_tokens", "do_sample", "temperature", "top_k", "top_p", "repetition_penalty",
                           "num_beams", "max_length", "length_penalty"})
    EXPECT_NE(table.find(name), nullptr) << name;
  EXPECT_EQ(table.find("max_length")->info.support, Support::kNotBuilt);
  EXPECT_EQ(table.find("length_penalty")->info.support, Support::kNoEffect);
  table.find("top_p")->set("0.7");
  EXPECT_EQ(options.top_p, 0.7);
  EXPECT_THROW(table.find("top_p")->set("1.7"), UsageError);
  EXPECT_THROW(table.find("max_new_tokens")->set("0"), UsageError);
}

}  // namespace

}  // namespace baichuan
