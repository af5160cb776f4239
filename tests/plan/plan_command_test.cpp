// `baichuan plan` as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/json.h"
#include "tests/cli/program.h"
#include "tests/scratch_directory.h"

namespace baichuan {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using Words = std::vector<std::string>;

constexpr const char* kTokenizer = BAICHUAN_SOURCE_DIR "/tests/data/dataset/tokenizer.model";

class PlanCommand : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* const cache : {"HF_HUB_CACHE", "HF_HOME", "MODELSCOPE_CACHE", "XDG_CACHE_HOME"})
      setup_.environment[cache] = (scratch_ / "cache").string();
    write_json_file(scratch_ / "deepspeed.json", Json{{"train_micro_batch_size_per_gpu", "auto"},
                                                      {"fp16", {{"enabled", "auto"}, {"loss_scale", 0}}},
                                                      {"zero_optimization", {{"stage", 2}}}});
  }

  RunResult plan(const Words& more) {
    Words words{"plan"};
    words.insert(words.end(), more.begin(), more.end());
    return run_baichuan(words, setup_);
  }

  // The README's command line for 8 GPUs.
  RunResult readme(const Words& more = {}) {
    Words words{"--num_gpus",
                "8",
                "--stage",
                "sft",
                "--model_name_or_path",
                "baichuan-inc/Baichuan-13B-Base",
                "--do_train",
                "--dataset",
                "alpaca_gpt4_en,alpaca_gpt4_zh",
                "--template",
                "default",
                "--finetuning_type",
                "full",
                "--output_dir",
                (scratch_ / "out").string(),
                "--overwrite_cache",
                "--per_device_train_batch_size",
                "4",
                "--per_device_eval_batch_size",
                "4",
                "--gradient_accumulation_steps",
                "8",
                "--preprocessing_num_workers",
                "16",
                "--lr_scheduler_type",
                "cosine",
                "--logging_steps",
                "10",
                "--save_steps",
                "100",
                "--eval_steps",
                "100",
                "--learning_rate",
                "5e-5",
                "--max_grad_norm",
                "0.5",
                "--num_train_epochs",
                "2.0",
                "--val_size",
                "0.01",
                "--evaluation_strategy",
                "steps",
                "--load_best_model_at_end",
                "--plot_loss",
                "--fp16",
                "--deepspeed",
                (scratch_ / "deepspeed.json").string()};
    words.insert(words.end(), more.begin(), more.end());
    return plan(words);
  }

  Json readme_json(Words more = {}) {
    more.insert(more.end(), {"--json", "--gpu", "a100-80gb"});
    const RunResult result = readme(more);
    EXPECT_EQ(result.status, 0) << result.err;
    return Json::parse(result.out);
  }

  // A model directory of the tests' own, without weights.
  std::string small_model() {
    fs::create_directories(scratch_ / "model");
    Json config = read_json_file(BAICHUAN_SOURCE_DIR "/configs/quickstart/model.json");
    write_json_file(scratch_ / "model/config.json", config);
    fs::copy_file(kTokenizer, scratch_ / "model/tokenizer.model", fs::copy_options::overwrite_existing);
    return (scratch_ / "model").string();
  }

  std::string rows(int count) {
    Json list = Json::array();
    for (int i = 0; i < count; ++i)
      list.push_back({{"instruction", "Say the number."}, {"output", "Number " + std::to_string(i) + "."}});
    write_json_file(scratch_ / "rows.json", list);
    return (scratch_ / "rows.json").string();
  }

  void expect_usage(const Words& words, const Words& parts, int status = 2) {
    const RunResult result = plan(words);
    EXPECT_EQ(result.status, status) << result.out;
    EXPECT_EQ(result.out, "");
    for (const auto& part : parts) EXPECT_THAT(result.err, HasSubstr(part));
  }

  ScratchDirectory scratch_;
  RunSetup setup_;
};

TEST_F(PlanCommand, TheReadmesRunHas780StepsAndSevenCheckpointsOf186Gigabytes) {
  const Json plan = readme_json();
  EXPECT_EQ(plan["time"]["steps"], 780);
  EXPECT_EQ(plan["data"]["train_rows"], 99811);
  EXPECT_EQ(plan["data"]["eval_rows"], 1009);
  EXPECT_EQ(plan["disk"]["checkpoints_kept"], 7);
  EXPECT_EQ(plan["disk"]["checkpoint_bytes"], 14 * 13'264'901'120);
  EXPECT_EQ(plan["run"]["sharding"], "stage 2");
  EXPECT_EQ(plan["run"]["ranks"], 8);
  EXPECT_EQ(plan["run"]["recompute_layers"], 8);
  EXPECT_EQ(plan["memory"]["fits"], true);
}

TEST_F(PlanCommand, ThePartsAddUpToTheTotal) {
  for (const char* const length : {"256", "1024", "4096"}) {
    const Json memory = readme_json({"--cutoff_len", length})["memory"];
    std::int64_t sum = 0;
    for (const char* const part :
         {"weights", "gradients", "masters", "moments", "buckets", "activations", "logits", "working", "reserve"})
      sum += memory[std::string(part) + "_bytes"].get<std::int64_t>();
    EXPECT_EQ(sum, memory["total_bytes"]);
  }
}

TEST_F(PlanCommand, TextSaysTheSameAsJson) {
  const RunResult result = readme({"--gpu", "a100-80gb"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("8 x A100-80GB, ZeRO stage 2"), HasSubstr("8 of 40 layers recomputed"),
                                HasSubstr("fits, "), HasSubstr("7 checkpoints of 185.71 GB"), HasSubstr("780 steps"),
                                HasSubstr("99,811 rows")));
}

TEST_F(PlanCommand, AModelThatIsNotDownloadedIsTakenFromItsPublishedShape) {
  const Json plan = readme_json();
  EXPECT_EQ(plan["model"]["downloaded"], false);
  EXPECT_THAT(plan["notes"].dump(), AllOf(HasSubstr("not downloaded"), HasSubstr("alpaca_gpt4_en is not here")));
}

TEST_F(PlanCommand, WhatDoesNotFitComesWithWhatDoes) {
  const RunResult result = readme({"--gpu", "a100-40gb"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("DOES NOT FIT"), HasSubstr("what fits"), HasSubstr("--finetuning_type lora"),
                                HasSubstr("zero_optimization.stage 3"), HasSubstr("(not built yet)")));
  const RunResult hopeless = readme({"--gpu", "a100-40gb", "--gpu_memory", "2GB"});
  EXPECT_THAT(hopeless.out, HasSubstr("nothing makes it fit"));
}

TEST_F(PlanCommand, GpuMemoryReplacesTheKindsOwn) {
  EXPECT_EQ(readme_json({"--gpu_memory", "79.2GiB"})["device"]["memory_bytes"], 85'040'352'461);
  EXPECT_EQ(readme_json({"--gpu_memory", "80GB"})["device"]["memory_bytes"], 80'000'000'000);
}

TEST_F(PlanCommand, ReadsTheModelAndTheRowsThatAreHere) {
  const RunResult result =
      plan({"--model_name_or_path", small_model(), "--dataset", rows(40), "--device", "cpu", "--finetuning_type",
            "full", "--per_device_train_batch_size", "2", "--val_size", "4", "--num_train_epochs", "3", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json plan = Json::parse(result.out);
  EXPECT_EQ(plan["model"]["downloaded"], true);
  EXPECT_EQ(plan["device"]["name"], "cpu");
  EXPECT_EQ(plan["data"]["train_rows"], 36);
  EXPECT_EQ(plan["time"]["steps"], 54);
  EXPECT_EQ(plan["memory"]["masters_bytes"], 0) << "computed in float32";
}

TEST_F(PlanCommand, AfterAPreviewTheLongestRowIsKnown) {
  const Words data{"--model_name_or_path", small_model(), "--dataset", rows(12), "--template", "vanilla"};
  Words words = data;
  words.insert(words.begin(), "preview");
  ASSERT_EQ(run_baichuan(words, setup_).status, 0);
  words = data;
  words.insert(words.end(), {"--json", "--device", "cpu"});
  const Json plan = Json::parse(this->plan(words).out);
  EXPECT_LT(plan["run"]["longest_row_tokens"], 100);
  EXPECT_THAT(plan["notes"].dump(), Not(HasSubstr("estimated")));
}

TEST_F(PlanCommand, ARecipeAndFlagsMayBeMixed) {
  write_json_file(scratch_ / "run.json", Json{{"model_name_or_path", "baichuan-inc/Baichuan-7B"},
                                              {"finetuning_type", "full"},
                                              {"num_gpus", 4},
                                              {"max_steps", 10}});
  const RunResult result = plan({(scratch_ / "run.json").string(), "--bf16", "--json", "--gpu", "h200"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json plan = Json::parse(result.out);
  EXPECT_EQ(plan["run"]["ranks"], 4);
  EXPECT_EQ(plan["run"]["sharding"], "stage 2");
  EXPECT_EQ(plan["time"]["steps"], 10);
  EXPECT_EQ(plan["data"], nullptr);
}

TEST_F(PlanCommand, AnAdapterThatIsTrainedOnHasItsOwnRankAndTargets) {
  fs::create_directories(scratch_ / "adapter");
  write_json_file(scratch_ / "adapter/adapter_config.json", Json{{"r", 16}, {"target_modules", {"W_pack", "o_proj"}}});
  const auto trained = [&](const Words& more) {
    Words words{"--model_name_or_path", small_model(), "--device", "cpu", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return Json::parse(plan(words).out)["run"]["trained_parameters"].get<std::int64_t>();
  };
  const std::string adapter = (scratch_ / "adapter").string();
  EXPECT_EQ(trained({"--checkpoint_dir", adapter}), 4 * 16 * (4 + 2) * 160);
  EXPECT_EQ(trained({"--checkpoint_dir", adapter, "--resume_lora_training", "false"}), 4 * 8 * 4 * 160);
}

TEST_F(PlanCommand, ProcessesShareThisMachine) {
  const auto memory = [&](const char* processes) {
    const RunResult result = plan({"--model_name_or_path", small_model(), "--num_processes", processes, "--json"});
    EXPECT_EQ(result.status, 0) << result.err;
    return Json::parse(result.out)["device"]["memory_bytes"].get<std::int64_t>();
  };
  EXPECT_EQ(memory("2"), memory("1") / 2);
}

TEST_F(PlanCommand, Compat2023RecomputesAllLayersAndCarriesMicroBatchesOver) {
  const Json plan = readme_json({"--compat", "2023"});
  EXPECT_EQ(plan["run"]["recompute_layers"], 40);
  EXPECT_EQ(plan["time"]["steps"], 780);
  EXPECT_EQ(plan["run"]["longest_row_tokens"], 1024) << "512 and 512";
}

TEST_F(PlanCommand, WrongUsageIsNamed) {
  const std::string model = small_model();
  expect_usage({}, {"--model_name_or_path"});
  expect_usage({"--model_name_or_path", model, "--gpu", "v100"}, {"--gpu", "v100", "a100-80gb"});
  expect_usage({"--model_name_or_path", model, "--gpu", "h100", "--gpu_memory", "much"},
               {"--gpu_memory", "much", "2GB"});
  expect_usage({"--model_name_or_path", model, "--num_gpus", "0"}, {"--num_gpus", "found 0"});
  expect_usage({"--model_name_or_path", model, "--num_gpus", "2", "--num_processes", "2"},
               {"--num_gpus", "--num_processes", "exclude"});
  expect_usage({"--model_name_or_path", model, "--gpu", "cpu", "--num_gpus", "2"}, {"--gpu cpu", "--num_processes"});
  expect_usage({"--model_name_or_path", model, "--gpu", "h100", "--num_processes", "2"}, {"h100", "--num_gpus"});
  expect_usage({"--model_name_or_path", model, "--recompute_layers", "some"}, {"--recompute_layers", "some"});
  expect_usage({"--model_name_or_path", model, "--fp16", "--bf16"}, {"--fp16", "--bf16"});
  expect_usage({"--model_name_or_path", model, "--jsn"}, {"--jsn", "--json"});
}

TEST_F(PlanCommand, WhatIsMissingIsNamed) {
  expect_usage({"--model_name_or_path", "someone/unknown"}, {"someone/unknown", "download"}, 1);
  expect_usage({"--model_name_or_path", small_model(), "--dataset", "alpaca_gpt4_fr"}, {"alpaca_gpt4_fr"}, 1);
  expect_usage({"--model_name_or_path", small_model(), "--deepspeed", (scratch_ / "none.json").string()}, {"none.json"},
               1);
}

TEST_F(PlanCommand, ADeepSpeedFileThatDisagreesIsRefused) {
  write_json_file(scratch_ / "wrong.json", Json{{"train_micro_batch_size_per_gpu", 3}});
  expect_usage({"--model_name_or_path", small_model(), "--deepspeed", (scratch_ / "wrong.json").string()},
               {"wrong.json", "train_micro_batch_size_per_gpu=3", "--per_device_train_batch_size=8"});
}

TEST_F(PlanCommand, WritesNothing) {
  ASSERT_EQ(readme().status, 0);
  EXPECT_FALSE(fs::exists(scratch_ / "out"));
  EXPECT_FALSE(fs::exists(scratch_ / "cache"));
}

}  // namespace
}  // namespace baichuan
