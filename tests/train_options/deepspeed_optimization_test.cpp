#include "train/deepspeed_optimization.h"

#include "tests/train_options/deepspeed_test.h"

namespace baichuan {
namespace {

class DeepSpeedOptimization : public DeepSpeedTest {
 protected:
  DeepSpeedOptimization() {
    flags_.learning_rate = 2e-4;
    flags_.weight_decay = 0.1;
  }
  static std::string optimizer(const std::string& type, const std::string& params) {
    return fmt::format(R"({{"optimizer": {{"type": "{}", "params": {{{}}}}}}})", type, params);
  }
  static std::string scheduler(const std::string& type, const std::string& params) {
    return fmt::format(R"({{"scheduler": {{"type": "{}", "params": {{{}}}}}}})", type, params);
  }
  const std::string all_auto_ = R"("lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto")";
  const std::string warmup_auto_ = R"("warmup_min_lr": "auto", "warmup_max_lr": "auto", "warmup_num_steps": "auto")";
};

TEST_F(DeepSpeedOptimization, AutoFillsAdamWFromTheFlags) {
  flags_.adam_beta2 = 0.95;
  flags_.adam_epsilon = 1e-6;
  for (const char* const type : {"Adam", "AdamW", "adamw"}) {
    const auto filled = load(optimizer(type, all_auto_)).optimizer.value();
    EXPECT_EQ(filled.learning_rate, 2e-4);
    EXPECT_EQ(filled.beta1, 0.9);
    EXPECT_EQ(filled.beta2, 0.95);
    EXPECT_EQ(filled.epsilon, 1e-6);
    EXPECT_EQ(filled.weight_decay, 0.1);
  }
}

TEST_F(DeepSpeedOptimization, WhatDiffersFromTheFlagsIsListed) {
  EXPECT_EQ(disagreement(optimizer("AdamW", R"("lr": 1e-4, "betas": [0.8, 0.99], "eps": 1e-6, "weight_decay": 0.2)")),
            "optimizer.params.lr=0.0001 against --learning_rate=0.0002; optimizer.params.betas=0.8 against "
            "--adam_beta1=0.9; optimizer.params.betas=0.99 against --adam_beta2=0.999; optimizer.params.eps=1e-06 "
            "against --adam_epsilon=1e-08; optimizer.params.weight_decay=0.2 against --weight_decay=0.1");
}

TEST_F(DeepSpeedOptimization, WhatIsAbsentIsDeepSpeedsDefault) {
  EXPECT_EQ(disagreement(optimizer("AdamW", "")),
            "optimizer.params.lr (DeepSpeed's default)=0.001 against --learning_rate=0.0002; "
            "optimizer.params.weight_decay (DeepSpeed's default)=0 against --weight_decay=0.1");
  flags_.learning_rate = 1e-3;
  flags_.weight_decay = 0;
  EXPECT_NO_THROW(load(optimizer("AdamW", "")));
  EXPECT_NO_THROW(load(R"({"optimizer": {"type": "AdamW"}})"));
}

TEST_F(DeepSpeedOptimization, AdamWithL2IsRefusedUnlessNothingDecays) {
  const std::string params = all_auto_ + R"(, "adam_w_mode": false)";
  EXPECT_EQ(failure(optimizer("Adam", params)),
            ": 'optimizer.params.adam_w_mode' false asks for Adam with L2 regularisation, which is not built; found "
            "weight_decay 0.1; set adam_w_mode to true, or weight_decay and --weight_decay to 0");
  EXPECT_NO_THROW(load(optimizer("AdamW", params))) << "DeepSpeed's AdamW does not look at adam_w_mode";
  flags_.weight_decay = 0;
  EXPECT_NO_THROW(load(optimizer("Adam", params)));
}

TEST_F(DeepSpeedOptimization, OtherOptimizersAreRefusedWithTheBuiltOnes) {
  for (const char* const type : {"Lamb", "OneBitAdam", "ZeroOneAdam", "MuAdam", "Lion", "Muon", "Adagrad"})
    EXPECT_EQ(
        failure(optimizer(type, all_auto_)),
        fmt::format(": 'optimizer.type' must be AdamW or Adam, the optimizers that are built; found \"{}\"", type));
  EXPECT_EQ(failure(R"({"optimizer": {"params": {}}})"), ": 'optimizer' needs a type; write AdamW");
}

TEST_F(DeepSpeedOptimization, HowAdamWIsBuiltInPythonHasNoEffectHere) {
  EXPECT_NO_THROW(load(optimizer("AdamW", all_auto_ + R"(, "fused": true, "foreach": false)")));
  EXPECT_NO_THROW(load(optimizer("AdamW", all_auto_ + R"(, "fp32_optimizer_states": true)")));
  const std::string narrow = all_auto_ + R"(, "fp32_optimizer_states": false)";
  EXPECT_NE(failure(optimizer("AdamW", narrow)).find("'optimizer.params.fp32_optimizer_states' is refused"),
            std::string::npos);
}

TEST_F(DeepSpeedOptimization, WrongParametersAreNamed) {
  EXPECT_EQ(failure(optimizer("AdamW", R"("betas": [0.9])")),
            ": 'optimizer.params.betas' must be two numbers from 0 to below 1, or \"auto\"; found [0.9]");
  EXPECT_EQ(failure(optimizer("AdamW", R"("lr": -1)")), ": 'optimizer.params.lr' must be at least 0; found -1");
  EXPECT_EQ(failure(optimizer("AdamW", R"("epsilon": 1)")),
            ": 'optimizer.params.epsilon' is no key of DeepSpeed; remove it, or see docs/DEEPSPEED.md");
  EXPECT_EQ(failure(optimizer("AdamW", R"("max_grad_norm": 0.5)")),
            ": 'optimizer.params.max_grad_norm' is refused: no parameter of the optimizer; write gradient_clipping; "
            "found 0.5; remove it or switch it off");
  EXPECT_NE(failure(optimizer("AdamW", R"("bias_correction": false)")).find("is refused"), std::string::npos);
}

TEST_F(DeepSpeedOptimization, TheBlockDisagreesWithTheAdamWOfTransformers) {
  flags_.optim = "adamw_hf";
  EXPECT_EQ(disagreement(optimizer("AdamW", all_auto_)), "optimizer.type=AdamW against --optim=adamw_hf");
}

TEST_F(DeepSpeedOptimization, AutoFillsTheSchedulerFromTheRun) {
  flags_.warmup_ratio = 0.03;
  const auto config = load(scheduler("WarmupDecayLR", warmup_auto_ + R"(, "total_num_steps": "auto")"));
  const auto schedule = config.schedule(flags_, 1000).value();
  EXPECT_EQ(schedule.type, ScheduleType::kDeepSpeedWarmupDecay);
  EXPECT_EQ(schedule.learning_rate, 2e-4);
  EXPECT_EQ(schedule.total_steps, 1000);
  EXPECT_EQ(schedule.warmup_steps, 30);
  EXPECT_EQ(schedule.deepspeed.min_rate, 0);
  EXPECT_FALSE(schedule.deepspeed.linear);
}

TEST_F(DeepSpeedOptimization, TheFilesStepsAndShapeHold) {
  flags_.warmup_steps = 20;
  const auto config = load(scheduler("WarmupCosineLR", R"("warmup_min_ratio": 0.1, "cos_min_ratio": 0.01,
      "warmup_num_steps": 20, "total_num_steps": 100, "warmup_type": "linear")"));
  const auto schedule = config.schedule(flags_, 100).value();
  EXPECT_EQ(schedule.type, ScheduleType::kDeepSpeedWarmupCosine);
  EXPECT_EQ(schedule.warmup_steps, 20);
  EXPECT_TRUE(schedule.deepspeed.linear);
  EXPECT_EQ(schedule.deepspeed.min_ratio, 0.1);
  EXPECT_EQ(schedule.deepspeed.end_ratio, 0.01);
  EXPECT_EQ(load(scheduler("WarmupLR", R"("warmup_min_lr": 1e-6, "warmup_num_steps": 20)"))
                .schedule(flags_, 100)
                .value()
                .deepspeed.min_rate,
            1e-6);
}

TEST_F(DeepSpeedOptimization, WithoutASchedulerTheFlagsDecide) {
  EXPECT_FALSE(load("{}").schedule(flags_, 100).has_value());
}

TEST_F(DeepSpeedOptimization, StepsThatAreNotTheRunsAreListedWhenTheRunIsKnown) {
  flags_.warmup_steps = 10;
  const auto config = load(scheduler("WarmupDecayLR", R"("warmup_max_lr": "auto", "warmup_num_steps": 20,
                                                        "total_num_steps": 500)"));
  try {
    config.schedule(flags_, 1000);
    FAIL() << "nothing was thrown";
  } catch (const UsageError& error) {
    EXPECT_EQ(error.what(), path_ +
                                " disagrees with the flags: scheduler.params.total_num_steps=500 against the run's "
                                "steps=1000; scheduler.params.warmup_num_steps=20 against the flags' warm-up "
                                "steps=10; set these keys to \"auto\" or change the flags");
  }
}

TEST_F(DeepSpeedOptimization, StepsThatAreNotMaxStepsAreListedWithTheRest) {
  flags_.max_steps = 1000;
  flags_.warmup_steps = 20;
  EXPECT_EQ(disagreement(scheduler("WarmupDecayLR", R"("warmup_num_steps": 20, "total_num_steps": 500)")),
            "scheduler.params.warmup_max_lr (DeepSpeed's default)=0.001 against --learning_rate=0.0002; "
            "scheduler.params.total_num_steps=500 against the run's steps=1000");
}

TEST_F(DeepSpeedOptimization, AnAbsentWarmUpIsDeepSpeedsThousandStepsUnlessTheFlagsSayOtherwise) {
  const std::string text = scheduler("WarmupLR", "");
  EXPECT_EQ(load(text).schedule(flags_, 100).value().warmup_steps, 1000);
  flags_.max_steps = 100;
  flags_.warmup_ratio = 0.1;
  EXPECT_EQ(disagreement(text),
            "scheduler.params.warmup_num_steps (DeepSpeed's default)=1000 against the flags' warm-up steps=10");
}

TEST_F(DeepSpeedOptimization, WrongSchedulersAreNamed) {
  EXPECT_EQ(
      failure(scheduler("OneCycle", "")),
      ": 'scheduler.type' must be WarmupLR, WarmupDecayLR or WarmupCosineLR, the schedulers that are built; found "
      "\"OneCycle\"");
  EXPECT_EQ(failure(R"({"scheduler": {}})"),
            ": 'scheduler' needs a type; write WarmupLR, WarmupDecayLR or WarmupCosineLR");
  EXPECT_EQ(failure(scheduler("WarmupLR", R"("warmup_type": "square")")),
            ": 'scheduler.params.warmup_type' must be log or linear; found \"square\"");
  EXPECT_EQ(failure(scheduler("WarmupLR", R"("warmup_num_steps": 0)")),
            ": 'scheduler.params.warmup_num_steps' must be at least 1; found 0");
}

TEST_F(DeepSpeedOptimization, ParametersOfAnotherSchedulerAreWrong) {
  EXPECT_EQ(failure(scheduler("WarmupCosineLR", R"("warmup_max_lr": "auto")")),
            ": 'scheduler.params.warmup_max_lr' is no parameter of WarmupCosineLR; remove it");
  EXPECT_EQ(failure(scheduler("WarmupLR", R"("total_num_steps": 100)")),
            ": 'scheduler.params.total_num_steps' is no parameter of WarmupLR; remove it");
  EXPECT_EQ(failure(scheduler("WarmupDecayLR", R"("cos_min_ratio": 0)")),
            ": 'scheduler.params.cos_min_ratio' is no parameter of WarmupDecayLR; remove it");
}

TEST_F(DeepSpeedOptimization, TheLogSaysThatTheFileDecidesTheRates) {
  EXPECT_EQ(said(scheduler("WarmupLR", warmup_auto_)),
            "info: : WarmupLR decides the rates, not --lr_scheduler_type linear\n");
}

}  // namespace
}  // namespace baichuan
