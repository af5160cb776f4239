#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/files.h"
#include "core/json.h"
#include "lora/adapter.h"
#include "model/load_weights.h"
#include "tests/cli/program.h"
#include "tests/cli/tiny_checkpoint.h"
#include "tests/scratch_directory.h"

namespace baichuan {

namespace {

using testing::HasSubstr;

class BenchProgram : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    scratch_ = std::make_unique<ScratchDirectory>();
    write_tiny_checkpoint(*scratch_ / "model", /*window=*/96);
  }
  static void TearDownTestSuite() { scratch_.reset(); }

  static std::string path(const char* name) { return *scratch_ / name; }

  static RunResult bench(const std::string& what, std::vector<std::string> more) {
    more.insert(more.begin(), {"bench", what, "--model_name_or_path", path("model"), "--device", "cpu"});
    return run_baichuan(more);
  }
  static RunResult train(std::vector<std::string> more) {
    more.insert(more.begin(), {"--per_device_train_batch_size", "2", "--cutoff_len", "12", "--steps", "2", "--json"});
    return bench("train", std::move(more));
  }
  static Json report(const RunResult& result) {
    EXPECT_EQ(result.status, 0) << result.err;
    return result.status == 0 ? Json::parse(result.out) : Json();
  }

  static std::unique_ptr<ScratchDirectory> scratch_;
};

std::unique_ptr<ScratchDirectory> BenchProgram::scratch_;

TEST_F(BenchProgram, DecodeReportsSpeedsAndMemory) {
  const Json found = report(bench("decode", {"--prompt_tokens", "16", "--new_tokens", "4", "--json"}));
  for (const char* key : {"decode_tokens_per_second", "prefill_tokens_per_second", "peak_memory_bytes"})
    EXPECT_GT(found.at(key).get<double>(), 0) << key;
  const auto text = bench("decode", {"--prompt_tokens", "16", "--new_tokens", "4"});
  EXPECT_THAT(text.out, HasSubstr("decode_tokens_per_second "));
}

TEST_F(BenchProgram, TrainReportsSpeedAndMemoryOfBothMethods) {
  for (const char* method : {"lora", "full"}) {
    const Json found = report(train({"--finetuning_type", method}));
    for (const char* key : {"tokens_per_second", "peak_memory_bytes"})
      EXPECT_GT(found.at(key).get<double>(), 0) << method << " " << key;
    EXPECT_EQ(found.at("steps").size(), 2);
  }
}

// The first loss tells which model was trained.
TEST_F(BenchProgram, TrainsTheModelThatTheFlagsDescribe) {
  const auto first_loss = [](std::vector<std::string> more) {
    return report(train(std::move(more))).at("first_loss").get<double>();
  };
  const double plain = first_loss({});
  EXPECT_NE(first_loss({"--dtype", "bf16"}), plain);
  EXPECT_NEAR(first_loss({"--dtype", "bf16"}), plain, 0.1);
  EXPECT_NE(first_loss({"--alibi_mode", "official"}), plain);
  EXPECT_NEAR(first_loss({"--alibi_mode", "official"}), plain, 1e-3);

  const auto model = load_model(path("model"));
  auto adapter = LoraAdapter::attach(*model, {}, 1);
  const torch::NoGradGuard no_grad;
  for (auto& [name, value] : adapter.parameters()) value.fill_(0.1);
  adapter.save(path("adapter"), "base");
  EXPECT_NE(first_loss({"--adapter_name_or_path", path("adapter"), "--lora_dropout", "0"}),
            first_loss({"--lora_dropout", "0"}));
}

TEST_F(BenchProgram, TrainTakesBatchesOfAFile) {
  write_file_atomically(path("batches.json"), R"([{"ids": [[5, 6, 7], [8, 9]], "labels": [[-100, 6, 7], [8, 9]]}])");
  EXPECT_GT(report(train({"--input", path("batches.json")})).at("first_loss").get<double>(), 0);
  const auto refusal = [&](std::string_view text) {
    write_file_atomically(path("batches.json"), text);
    const auto result = train({"--input", path("batches.json")});
    EXPECT_EQ(result.status, 1);
    const std::string start = "error: " + path("batches.json") + ": ";
    EXPECT_TRUE(result.err.starts_with(start)) << result.err;
    return result.err.substr(std::min(start.size(), result.err.size()));
  };
  EXPECT_THAT(refusal("{}"), HasSubstr("expected a list of batches"));
  EXPECT_THAT(refusal("[]"), HasSubstr("found none"));
  for (const char* wrong : {R"([5])", R"([{"ids": [[1]]}])", R"([{"ids": [["a"]], "labels": [[1]]}])",
                            R"([{"ids": [[1.5]], "labels": [[1]]}])", R"([{"ids": [[99999999]], "labels": [[1]]}])",
                            R"([{"ids": [[1, 2]], "labels": [[1]]}])", R"([{"ids": [], "labels": []}])",
                            R"([{"ids": [[]], "labels": [[]]}])"})
    EXPECT_THAT(refusal(wrong),
                HasSubstr("batch 0: expected 'ids' and 'labels' to be lists of rows of the same lengths"))
        << wrong;
}

TEST_F(BenchProgram, EndsWithTwoForWrongUsage) {
  const auto message_for = [](const RunResult& result) { return std::to_string(result.status) + " " + result.err; };
  EXPECT_EQ(message_for(train({"--fp16", "--bf16"})),
            "2 error: --fp16 and --bf16 exclude each other; give one compute type\n");
  EXPECT_EQ(message_for(train({"--fp16", "--dtype", "bf16"})),
            "2 error: --fp16 cannot compute with --dtype bf16; give one 16-bit type\n");
  EXPECT_EQ(message_for(train({"--finetuning_type", "full", "--adapter_name_or_path", "a"})),
            "2 error: --adapter_name_or_path goes with --finetuning_type lora; found full; leave it out\n");
  EXPECT_EQ(message_for(bench("decode", {"--quantization_bit", "4"})),
            "2 error: --quantization_bit is known but not built yet; leave it out\n");
  EXPECT_EQ(message_for(run_baichuan({"bench", "train"})),
            "2 error: --model_name_or_path is required: a model directory or a hub id\n");
  EXPECT_THAT(
      message_for(run_baichuan({"bench"})),
      testing::Eq(
          "2 error: the command bench needs a second word: `baichuan bench train` or `baichuan bench decode`\n"));
}

}  // namespace

}  // namespace baichuan
