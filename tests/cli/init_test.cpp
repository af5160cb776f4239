#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/files.h"
#include "core/json.h"
#include "io/checkpoint_reader.h"
#include "tests/cli/program.h"
#include "tests/scratch_directory.h"

namespace baichuan {

namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::string kTokenizer = BAICHUAN_SOURCE_DIR "/configs/quickstart/tokenizer.model";

class InitProgram : public testing::Test {
 protected:
  RunResult init(std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"init", "--output_dir", (scratch_ / "model").string()});
    return run_baichuan(flags);
  }

  ScratchDirectory scratch_;
};

TEST_F(InitProgram, ATinyModelTakesItsVocabularyFromTheTokenizer) {
  const auto result = init({"--preset", "tiny", "--tokenizer", kTokenizer});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "");
  const fs::path model = scratch_ / "model";
  const Json config = read_json_file(model / "config.json");
  EXPECT_EQ(config["vocab_size"], 2048);
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_EQ(read_file(model / "tokenizer.model"), read_file(kTokenizer));
  EXPECT_EQ(read_json_file(model / "tokenizer_config.json")["add_bos_token"], false);
  EXPECT_FALSE(read_json_file(model / "generation_config.json").contains("user_token_id"));
  EXPECT_EQ(CheckpointReader::open(model).find("lm_head.weight")->shape, (std::vector<std::int64_t>{2048, 320}));
}

TEST_F(InitProgram, TypeFormatAndSeedAreTheUsers) {
  const std::vector<std::string> flags{"--preset", "tiny", "--tokenizer", kTokenizer, "--dtype", "bf16"};
  auto bin = flags;
  bin.insert(bin.end(), {"--format", "bin", "--seed", "7"});
  ASSERT_EQ(init(bin).status, 0);
  const fs::path model = scratch_ / "model";
  EXPECT_TRUE(fs::exists(model / "pytorch_model.bin"));
  EXPECT_EQ(read_json_file(model / "config.json")["torch_dtype"], "bfloat16");
  const auto first = CheckpointReader::open(model).read("lm_head.weight");

  auto again = flags;
  again.insert(again.end(), {"--overwrite_output_dir", "--seed", "7"});
  ASSERT_EQ(init(again).status, 0);
  EXPECT_FALSE(fs::exists(model / "pytorch_model.bin")) << "weights of the replaced model would be read instead";
  EXPECT_TRUE(at::equal(CheckpointReader::open(model).read("lm_head.weight"), first));
}

TEST_F(InitProgram, AConfigurationFileGivesTheShapeAndItsType) {
  const auto result =
      init({"--config", BAICHUAN_SOURCE_DIR "/configs/quickstart/model.json", "--tokenizer", kTokenizer});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(read_json_file(scratch_ / "model/config.json")["hidden_size"], 160);
}

TEST_F(InitProgram, AModelThatIsThereIsNotReplacedByAccident) {
  ASSERT_EQ(init({"--preset", "tiny", "--tokenizer", kTokenizer}).status, 0);
  const auto result = init({"--preset", "tiny", "--tokenizer", kTokenizer});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr((scratch_ / "model").string()), HasSubstr("--overwrite_output_dir")));
}

TEST_F(InitProgram, ATokenizerThatIsTooLargeIsRefused) {
  Json config = read_json_file(BAICHUAN_SOURCE_DIR "/configs/quickstart/model.json");
  config["vocab_size"] = 100;
  write_json_file(scratch_ / "small.json", config);
  const auto result = init({"--config", (scratch_ / "small.json").string(), "--tokenizer", kTokenizer});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("100"), HasSubstr("2048"), HasSubstr(kTokenizer)));
}

TEST_F(InitProgram, WrongUsageIsNamed) {
  const auto expect_usage = [&](const std::vector<std::string>& flags, const std::string& word) {
    const auto result = init(flags);
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.err, HasSubstr(word));
  };
  expect_usage({}, "neither");
  expect_usage({"--preset", "7b", "--config", "x.json"}, "both");
  expect_usage({"--preset", "14b"}, "14b");
  expect_usage({"--preset", "tiny"}, "--tokenizer");
  EXPECT_EQ(run_baichuan({"init", "--preset", "7b"}).status, 2) << "no --output_dir";
}

}  // namespace

}  // namespace baichuan
