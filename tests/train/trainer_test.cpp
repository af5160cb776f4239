#include <limits>

#include <gtest/gtest.h>
#include <unistd.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/files.h"
#include "io/checkpoint_reader.h"
#include "model/load_weights.h"
#include "tests/train/tiny_run.h"
#include "train/free_memory.h"

namespace baichuan {
namespace {

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(directory_.path() / "model");
    write_tiny_rows(directory_.path() / "rows.json", 16);
  }

  TinyRun run_into(const std::string& name) {
    TinyRun run = tiny_run(directory_.path(), name);
    run.lora.lora_dropout = 0;
    auto& t = run.trainer;
    t.optimization.learning_rate = 1e-2;
    t.optimization.per_device_train_batch_size = 4;
    t.optimization.num_train_epochs = 1;
    t.optimization.disable_shuffling = true;
    t.logging.logging_steps = 1;
    return run;
  }

  TemporaryDirectory directory_;
};

double largest_difference(const TinyResult& a, const TinyResult& b) {
  double largest = 0;
  for (const auto& [name, tensor] : a.weights)
    largest = std::max(largest, (tensor - b.weights.at(name)).abs().max().item<double>());
  return largest;
}

// Law: in token mode, k micro-batches of 1 row are one batch of k rows; with the means of micro-batches they are not,
// for the rows have different numbers of labels. SGD-like sensitivity: norms are compared, Adam hides scale.
TEST_F(TrainerTest, AccumulationIsTokenExact) {
  TinyRun one = run_into("one");
  one.trainer.optimization.max_steps = 1;
  TinyRun many = run_into("many");
  many.trainer.optimization.max_steps = 1;
  many.trainer.optimization.per_device_train_batch_size = 1;
  many.trainer.optimization.gradient_accumulation_steps = 4;
  const auto whole = train(one);
  const auto parts = train(many);
  EXPECT_NEAR(whole.norms[0], parts.norms[0], 1e-6 * whole.norms[0]);
  EXPECT_LT(largest_difference(whole, parts), 1e-5);
  many.trainer.normalization = LossNormalization::kMicroBatch;
  many.trainer.logging.overwrite_output_dir = true;
  EXPECT_GT(std::abs(train(many).norms[0] - whole.norms[0]), 1e-4 * whole.norms[0]);
}

TEST_F(TrainerTest, PaddingChangesNothing) {
  TinyRun run = run_into("padded");
  run.trainer.optimization.max_steps = 1;
  const auto padded = train(run);
  // One row a micro-batch needs no padding.
  TinyRun single = run_into("single");
  single.trainer.optimization.max_steps = 1;
  single.trainer.optimization.per_device_train_batch_size = 1;
  single.trainer.optimization.gradient_accumulation_steps = 4;
  EXPECT_LT(largest_difference(padded, train(single)), 1e-5);
}

TEST_F(TrainerTest, TrainingLowersTheLoss) {
  TinyRun run = run_into("learn");
  run.full = true;
  run.trainer.optimization.num_train_epochs = 20;
  run.trainer.optimization.lr_scheduler_type = "constant";
  run.trainer.logging.save_strategy = "no";
  const auto result = train(run);
  EXPECT_LT(result.micro_losses.back(), 0.5 * result.micro_losses.front());
}

TEST_F(TrainerTest, LoraLeavesTheBaseUntouchedAndWritesAPeftDirectory) {
  TinyRun run = run_into("lora");
  const auto result = train(run);
  EXPECT_EQ(result.weights.size(), 4u) << "A and B of two layers";
  const Json config = read_json_file(std::filesystem::path(run.trainer.logging.output_dir) / "adapter_config.json");
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["target_modules"], Json({"W_pack"}));
}

TEST_F(TrainerTest, TheFinalModelHasTheBasesDtypesTokenizerAndConfig) {
  write_tiny_model(directory_.path() / "model", at::kBFloat16);
  TinyRun run = run_into("full");
  run.full = true;
  train(run);
  const std::filesystem::path output = run.trainer.logging.output_dir;
  const auto written = CheckpointReader::open(output);
  for (const auto& spec : written.tensors()) EXPECT_EQ(spec.dtype, at::kBFloat16) << spec.name;
  EXPECT_EQ(read_json_file(output / "config.json")["torch_dtype"], "bfloat16");
  EXPECT_TRUE(std::filesystem::exists(output / "tokenizer.model"));
  EXPECT_NO_THROW(load_model(output));
}

TEST_F(TrainerTest, WritesEveryFileOfARun) {
  TinyRun run = run_into("files");
  run.data.val_size = 4;
  run.trainer.finetuning.plot_loss = true;
  run.trainer.logging.evaluation_strategy = "steps";
  run.trainer.logging.save_steps = 2;
  train(run);
  const std::filesystem::path output = run.trainer.logging.output_dir;
  for (const char* const name :
       {"trainer_log.jsonl", "trainer_state.json", "all_results.json", "train_results.json", "eval_results.json",
        "training_loss.png", "training_eval_loss.png", "adapter_config.json", "adapter_model.safetensors", "runs",
        "checkpoint-2/manifest.json"})
    EXPECT_TRUE(std::filesystem::exists(output / name)) << name;
  const auto log = read_file(output / "trainer_log.jsonl");
  const Json first = Json::parse(log.substr(0, log.find('\n')));
  for (const char* const key :
       {"current_steps", "total_steps", "loss", "learning_rate", "epoch", "percentage", "elapsed_time",
        "remaining_time", "tokens_per_second", "grad_norm", "peak_memory_bytes"})
    EXPECT_TRUE(first.contains(key)) << key << " in " << first;
}

// The compute types agree on where training goes, within their resolution.
TEST_F(TrainerTest, SixteenBitTrainingFollowsFloat32) {
  TinyRun exact = run_into("fp32");
  const auto reference = train(exact);
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    TinyRun run = run_into(type == at::kHalf ? "fp16" : "bf16");
    run.compute = type;
    run.trainer.optimization.fp16 = type == at::kHalf;
    const auto result = train(run);
    ASSERT_EQ(result.micro_losses.size(), reference.micro_losses.size());
    for (std::size_t i = 0; i < result.micro_losses.size(); ++i)
      EXPECT_NEAR(result.micro_losses[i], reference.micro_losses[i], 0.02 * reference.micro_losses[i]);
  }
}

TEST_F(TrainerTest, OverflowInFloat16SkipsTheStepAndHalvesTheScale) {
  TinyRun run = run_into("overflow");
  run.compute = at::kHalf;
  run.trainer.optimization.fp16 = true;
  run.trainer.loss_scale.initial_scale = 1e9;
  const auto result = train(run);
  EXPECT_TRUE(result.skipped.front());
}

TEST_F(TrainerTest, ANonFiniteLossStopsBeforeTheUpdateAndNamesTheTensor) {
  const auto model = directory_.path() / "model";
  auto reader = CheckpointReader::open(model);
  TinyRun run = run_into("nan");
  run.full = true;
  run.trainer.optimization.learning_rate = 1e30;  // the first update destroys the weights, the second step sees it
  run.trainer.optimization.lr_scheduler_type = "constant";
  try {
    train(run);
    FAIL() << "nothing was thrown";
  } catch (const TrainingError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("step 2: expected a finite loss"), std::string::npos) << message;
    EXPECT_NE(message.find("for samples 4, 5, 6, 7"), std::string::npos) << message;
    EXPECT_NE(message.find("first bad tensor: "), std::string::npos) << message;
  }
}

TEST_F(TrainerTest, AFolderWithACheckpointIsNotOverwrittenUnasked) {
  TinyRun run = run_into("twice");
  run.trainer.logging.save_steps = 2;
  train(run);
  EXPECT_THROW(train(run), CheckpointError);
  run.trainer.logging.overwrite_output_dir = true;
  EXPECT_NO_THROW(train(run));
}

TEST_F(TrainerTest, SaveLimitsKeepTheNewest) {
  TinyRun run = run_into("limit");
  run.trainer.logging.save_steps = 1;
  run.trainer.logging.save_total_limit = 1;
  train(run);
  const std::filesystem::path output = run.trainer.logging.output_dir;
  EXPECT_TRUE(std::filesystem::exists(output / "checkpoint-4"));
  EXPECT_FALSE(std::filesystem::exists(output / "checkpoint-3"));
}

TEST(FreeMemory, IsBetweenNothingAndAllOfTheMachine) {
  const std::int64_t pages = ::sysconf(_SC_PHYS_PAGES);
  EXPECT_GT(free_memory_bytes(at::kCPU), 0);
  EXPECT_LE(free_memory_bytes(at::kCPU), pages * ::sysconf(_SC_PAGESIZE));
}

}  // namespace
}  // namespace baichuan
