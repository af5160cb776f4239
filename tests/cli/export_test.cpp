#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/files.h"
#include "core/json.h"
#include "io/checkpoint_reader.h"
#include "io/checkpoint_writer.h"
#include "tests/cli/program.h"
#include "tests/cli/tiny_checkpoint.h"
#include "tests/scratch_directory.h"

namespace baichuan {

namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kWeight = "model.layers.0.self_attn.W_pack.weight";

class ExportProgram : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_checkpoint(scratch_ / "model", /*window=*/96);
    torch::manual_seed(1);
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (int layer = 0; layer < 2; ++layer) {
      const std::string module = fmt::format("base_model.model.model.layers.{}.self_attn.W_pack", layer);
      tensors.emplace_back(module + ".lora_A.weight", torch::randn({4, 40}));
      tensors.emplace_back(module + ".lora_B.weight", torch::randn({120, 4}));
    }
    std::vector<TensorSpec> specs;
    for (const auto& [name, value] : tensors) specs.push_back({name, at::kFloat, value.sizes().vec()});
    CheckpointWriter writer(scratch_ / "adapter", specs, {.stem = "adapter_model"});
    for (const auto& [name, value] : tensors) writer.write(name, value);
    writer.finish();
    write_json_file(scratch_ / "adapter/adapter_config.json",
                    Json{{"peft_type", "LORA"}, {"r", 4}, {"lora_alpha", 8}, {"target_modules", {"W_pack"}}});
  }
  RunResult run(std::vector<std::string> more) {
    std::vector<std::string> words{"export", "--model_name_or_path", scratch_ / "model"};
    words.insert(words.end(), more.begin(), more.end());
    return run_baichuan(words);
  }
  std::string path(const char* name) const { return scratch_ / name; }

  ScratchDirectory scratch_;
};

TEST_F(ExportProgram, MergesAndSaysHowFarTheMergedModelIs) {
  const auto result = run({"--adapter_name_or_path", path("adapter"), "--output_dir", path("merged"), "--verify"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out,
              AllOf(testing::StartsWith("largest logit difference "), HasSubstr("at 256 of 256 positions")));
  const auto merged = CheckpointReader::open(scratch_ / "merged");
  EXPECT_FALSE(torch::equal(merged.read(kWeight), CheckpointReader::open(scratch_ / "model").read(kWeight)));
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "merged/tokenizer.model"));
  const auto answer =
      run_baichuan({"score", "--model_name_or_path", path("merged"), "--input", "-"}, {.input = "{\"ids\": [5, 6]}"});
  EXPECT_EQ(answer.status, 0) << answer.err;
}

TEST_F(ExportProgram, TakesCommandLinesOfOtherTools) {
  const auto result =
      run({"--checkpoint_dir", path("adapter"), "--export_dir", path("merged"), "--template", "default",
           "--finetuning_type", "lora", "--export_size", "1", "--export_legacy_format", "true", "--fp16"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "merged/pytorch_model.bin"));
  EXPECT_EQ(CheckpointReader::open(scratch_ / "merged").find(kWeight)->dtype, at::kHalf);
}

TEST_F(ExportProgram, ExportsWhatFullFineTuningLeft) {
  const auto result =
      run({"--checkpoint_dir", path("model"), "--output_dir", path("merged"), "--max_shard_size", "100kB"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "merged/model.safetensors.index.json"));
}

TEST_F(ExportProgram, EndsWithTwoForWrongUsage) {
  EXPECT_THAT(run({}).err, HasSubstr("--output_dir"));
  EXPECT_EQ(run({}).status, 2);
  EXPECT_EQ(run({"--output_dir", path("model")}).status, 2);
  EXPECT_EQ(run({"--output_dir", path("merged"), "--max_shard_size", "many"}).status, 2);
  EXPECT_EQ(run({"--output_dir", path("merged"), "--format", "gguf"}).status, 2);
  EXPECT_EQ(run({"--output_dir", path("merged"), "--fp16", "--bf16"}).status, 2);
  EXPECT_EQ(run({"--output_dir", path("merged"), "--fp16", "--dtype", "bf16"}).status, 2);
  EXPECT_EQ(run_baichuan({"export", "--output_dir", path("merged")}).status, 2);
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "merged"));
}

TEST_F(ExportProgram, EndsWithOneForABrokenInput) {
  const std::string file = scratch_ / "adapter/adapter_model.safetensors";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  const auto result = run({"--adapter_name_or_path", path("adapter"), "--output_dir", path("merged")});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("error: " + file), HasSubstr("incomplete download or corrupt file?")));
}

}  // namespace

}  // namespace baichuan
