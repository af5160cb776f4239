#include "train/deepspeed_config.h"

#include <fstream>

#include <gtest/gtest.h>

#include "core/error.h"

namespace baichuan {
namespace {

class DeepSpeedConfigTest : public testing::Test {
 protected:
  DeepSpeedConfig load(const std::string& text) {
    std::ofstream(path_) << text;
    return load_deepspeed_config(path_, options_, 1);
  }
  std::string failure(const std::string& text) {
    try {
      load(text);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  }
  const std::string path_ = testing::TempDir() + "deepspeed_test.json";
  OptimizationOptions options_;
};

// The file that the README of Baichuan-13B gives.
TEST_F(DeepSpeedConfigTest, TakesTheReadmesFile) {
  options_.max_grad_norm = 0.5;
  options_.fp16 = true;
  const auto config = load(R"({
    "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto", "gradient_clipping": "auto",
    "zero_allow_untested_optimizer": true,
    "fp16": {"enabled": "auto", "loss_scale": 0, "initial_scale_power": 16, "loss_scale_window": 1000, "hysteresis": 2,
             "min_loss_scale": 1},
    "zero_optimization": {"stage": 2, "allgather_partitions": true, "allgather_bucket_size": 5e8, "overlap_comm": false,
                          "reduce_scatter": true, "reduce_bucket_size": 5e8, "contiguous_gradients": true}})");
  EXPECT_EQ(config.stage, 2);
  EXPECT_EQ(config.gradient_clipping, 0.5);
  EXPECT_EQ(config.loss_scale.initial_scale, 65536);
  EXPECT_EQ(config.loss_scale.window, 1000);
  EXPECT_EQ(config.loss_scale.hysteresis, 2);
  EXPECT_TRUE(config.loss_scale.deepspeed_rule);
}

TEST_F(DeepSpeedConfigTest, ReportsEveryDisagreementAtOnce) {
  EXPECT_EQ(
      failure(R"({"train_micro_batch_size_per_gpu": 4, "gradient_clipping": 2.0, "fp16": {"enabled": true}})"),
      path_ +
          " disagrees with the flags: train_micro_batch_size_per_gpu=4 against --per_device_train_batch_size=8; "
          "gradient_clipping=2 against --max_grad_norm=1; fp16.enabled=true against --fp16=false; set these keys to "
          "\"auto\" or change the flags");
}

TEST_F(DeepSpeedConfigTest, TakesCommentsAndAStaticScale) {
  options_.fp16 = true;
  const auto config = load("{\"fp16\": {\"enabled\": true, \"loss_scale\": 128} // fixed\n}");
  EXPECT_TRUE(config.loss_scale.is_static);
  EXPECT_EQ(config.loss_scale.initial_scale, 128);
  EXPECT_FALSE(config.gradient_clipping.has_value());
}

TEST_F(DeepSpeedConfigTest, NamesWhatIsNotBuilt) {
  EXPECT_EQ(failure(R"({"zero_optimization": {"stage": 3}})"),
            path_ + ": zero_optimization.stage 3 is not built yet; use stage 2");
  EXPECT_EQ(failure(R"({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}})"),
            path_ + ": zero_optimization.offload_optimizer is not built yet; remove it");
  EXPECT_EQ(failure(R"({"optimizer": {"type": "Adam"}})"),
            path_ + ": 'optimizer' is not built yet; remove it and use the flags (--optim, --lr_scheduler_type)");
}

TEST_F(DeepSpeedConfigTest, NamesWrongValues) {
  EXPECT_EQ(failure(R"({"gradient_clipping": "much"})"),
            path_ + ": 'gradient_clipping' must be a number or \"auto\"; found \"much\"");
  EXPECT_EQ(failure(R"({"zero_optimization": {"stage": 4}})"),
            path_ + ": zero_optimization.stage must be 0, 1 or 2; found 4");
  EXPECT_EQ(failure("[]"), path_ + ": expected a JSON object");
  EXPECT_NE(failure("{\"a\": ").find("line 1: expected valid JSON"), std::string::npos);
  options_.fp16 = true;
  EXPECT_EQ(failure(R"({"fp16": {"enabled": true, "loss_scale_window": 0}})"),
            path_ + ": fp16 needs loss_scale_window > 0, min_loss_scale > 0 and loss_scale >= 0");
}

}  // namespace
}  // namespace baichuan
