#include "train/deepspeed_config.h"

#include "tests/train_options/deepspeed_test.h"

namespace baichuan {
namespace {

using DeepSpeedConfigTest = DeepSpeedTest;

// The file that the README of Baichuan-13B gives.
TEST_F(DeepSpeedConfigTest, TakesTheReadmesFile) {
  flags_.max_grad_norm = 0.5;
  flags_.fp16 = true;
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
  EXPECT_EQ(config.reduce_bucket_elements, 500'000'000);
}

TEST_F(DeepSpeedConfigTest, AnEmptyFileHasDeepSpeedsDefaults) {
  const auto config = load("{}");
  EXPECT_EQ(config.stage, 0);
  EXPECT_EQ(config.gradient_clipping, std::nullopt);
  EXPECT_TRUE(config.loss_scale.deepspeed_rule);
  EXPECT_EQ(config.loss_scale.initial_scale, 65536);
  EXPECT_EQ(config.loss_scale.window, 1000);
  EXPECT_EQ(config.loss_scale.hysteresis, 2);
  EXPECT_FALSE(config.loss_scale.consecutive_hysteresis);
  EXPECT_EQ(config.reduce_bucket_elements, 500'000'000);
  EXPECT_EQ(config.communication_dtype, std::nullopt);
  EXPECT_EQ(config.accumulation_dtype, std::nullopt);
  EXPECT_FALSE(config.drop_last);
  EXPECT_FALSE(config.node_local_checkpoints);
  EXPECT_FALSE(config.optimizer.has_value());
  EXPECT_FALSE(config.scheduler.has_value());
}

TEST_F(DeepSpeedConfigTest, AutoAndNullStandForTheDefaultWithinSections) {
  flags_.fp16 = true;
  const auto config = load(R"({"fp16": {"enabled": "auto", "loss_scale_window": "auto", "hysteresis": null},
                               "zero_optimization": {"stage": "auto", "overlap_comm": null}, "optimizer": null})");
  EXPECT_EQ(config.loss_scale.window, 1000);
  EXPECT_EQ(config.loss_scale.hysteresis, 2);
  EXPECT_EQ(config.stage, 0);
}

TEST_F(DeepSpeedConfigTest, ReportsEveryDisagreementAtOnce) {
  EXPECT_EQ(failure(R"({"train_micro_batch_size_per_gpu": 4, "gradient_clipping": 2.0, "fp16": {"enabled": true}})"),
            " disagrees with the flags: train_micro_batch_size_per_gpu=4 against --per_device_train_batch_size=8; "
            "gradient_clipping=2 against --max_grad_norm=1; fp16.enabled=true against --fp16=false; set these keys to "
            "\"auto\" or change the flags");
}

TEST_F(DeepSpeedConfigTest, DisagreementsOfAllBlocksStandInOneError) {
  EXPECT_EQ(disagreement(R"({"gradient_accumulation_steps": 2, "optimizer": {"type": "AdamW", "params": {"lr": 1e-4}},
                             "scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 1e-4}}})"),
            "gradient_accumulation_steps=2 against --gradient_accumulation_steps=1; optimizer.params.lr=0.0001 against "
            "--learning_rate=5e-05; scheduler.params.warmup_max_lr=0.0001 against --learning_rate=5e-05");
}

// The batch.

TEST_F(DeepSpeedConfigTest, ABatchThatIsItsFactorsProductAgrees) {
  flags_.gradient_accumulation_steps = 3;
  EXPECT_NO_THROW(
      load(R"({"train_batch_size": 48, "train_micro_batch_size_per_gpu": 8, "gradient_accumulation_steps": 3})", 2));
  EXPECT_NO_THROW(load(R"({"train_batch_size": 48, "train_micro_batch_size_per_gpu": 8})", 2));
  EXPECT_NO_THROW(load(R"({"train_batch_size": 48, "gradient_accumulation_steps": 3})", 2));
  EXPECT_NO_THROW(load(R"({"train_batch_size": 48})", 2));
}

TEST_F(DeepSpeedConfigTest, ABatchThatIsNotItsFactorsProductIsShownWithThem) {
  EXPECT_EQ(
      disagreement(R"({"train_batch_size": 64, "train_micro_batch_size_per_gpu": 8, "gradient_accumulation_steps": 1})",
                   2),
      "train_batch_size=64 against train_micro_batch_size_per_gpu x gradient_accumulation_steps x 2 ranks=16");
}

TEST_F(DeepSpeedConfigTest, TwoNumbersOfTheBatchGiveTheThird) {
  EXPECT_EQ(disagreement(R"({"train_batch_size": 64, "train_micro_batch_size_per_gpu": 8})", 2),
            "gradient_accumulation_steps (train_batch_size 64 / train_micro_batch_size_per_gpu 8 / 2 ranks)=4 against "
            "--gradient_accumulation_steps=1");
  EXPECT_EQ(disagreement(R"({"train_batch_size": 64, "gradient_accumulation_steps": 1})", 2),
            "train_micro_batch_size_per_gpu (train_batch_size 64 / gradient_accumulation_steps 1 / 2 ranks)=32 against "
            "--per_device_train_batch_size=8");
  EXPECT_EQ(disagreement(R"({"train_batch_size": 20, "train_micro_batch_size_per_gpu": 8})"),
            "train_batch_size=20 is no multiple of train_micro_batch_size_per_gpu 8 x 1 ranks");
  EXPECT_EQ(disagreement(R"({"train_batch_size": 20})", 2),
            "train_batch_size=20 against batch x accumulation x ranks=16");
}

TEST_F(DeepSpeedConfigTest, BatchSizesArePositiveIntegers) {
  EXPECT_EQ(failure(R"({"train_batch_size": 0})"), ": 'train_batch_size' must be at least 1; found 0");
  EXPECT_EQ(failure(R"({"train_batch_size": 1.5})"), ": 'train_batch_size' must be an integer or \"auto\"; found 1.5");
}

// Clipping.

TEST_F(DeepSpeedConfigTest, ClippingIsTheFilesOrAutoOrTheFlags) {
  flags_.max_grad_norm = 0.5;
  testing::internal::CaptureStderr();
  EXPECT_EQ(effective_max_grad_norm(load(R"({"gradient_clipping": 0.5})"), flags_, true, false), 0.5);
  EXPECT_EQ(effective_max_grad_norm(load(R"({"gradient_clipping": "auto"})"), flags_, true, false), 0.5);
  EXPECT_EQ(effective_max_grad_norm(load("{}"), flags_, false, false), 0.5);
  EXPECT_EQ(effective_max_grad_norm(load("{}"), flags_, true, true), 0.5);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "info: " + path_ + ": gradients are clipped at a norm of 0.5 (0: never)\n" +      //
                "info: " + path_ + ": gradients are clipped at a norm of 0.5 (0: never)\n" +  //
                "info: " + path_ + " has no gradient_clipping: --max_grad_norm 0.5 holds\n" + "info: " + path_ +
                " has no gradient_clipping: --max_grad_norm 0.5 holds\n");
}

TEST_F(DeepSpeedConfigTest, TheStackOf2023DidNotClipWithoutTheKey) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(effective_max_grad_norm(load("{}"), flags_, true, false), 0);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "warning: " + path_ +
                " has no gradient_clipping: the stack of 2023 did not clip then, and neither does this run\n");
}

TEST_F(DeepSpeedConfigTest, NegativeClippingIsWrong) {
  EXPECT_EQ(failure(R"({"gradient_clipping": -1})"), ": 'gradient_clipping' must be at least 0; found -1");
  EXPECT_EQ(failure(R"({"gradient_clipping": "much"})"),
            ": 'gradient_clipping' must be a number or \"auto\"; found \"much\"");
}

// Precision.

TEST_F(DeepSpeedConfigTest, TakesEverySettingOfTheLossScale) {
  flags_.fp16 = true;
  const auto scale = load(R"({fp16: {enabled: true, initial_scale_power: 12, loss_scale_window: 500, hysteresis: 4,
                              consecutive_hysteresis: true, min_loss_scale: 8}})")
                         .loss_scale;
  EXPECT_EQ(scale.initial_scale, 4096);
  EXPECT_EQ(scale.window, 500);
  EXPECT_EQ(scale.hysteresis, 4);
  EXPECT_TRUE(scale.consecutive_hysteresis);
  EXPECT_EQ(scale.min_scale, 8);
}

TEST_F(DeepSpeedConfigTest, AStaticScaleIsTheFilesNumber) {
  flags_.fp16 = true;
  const auto config = load("{\"fp16\": {\"enabled\": true, \"loss_scale\": 128} // fixed\n}");
  EXPECT_TRUE(config.loss_scale.is_static);
  EXPECT_EQ(config.loss_scale.initial_scale, 128);
}

TEST_F(DeepSpeedConfigTest, NamesWrongLossScales) {
  EXPECT_EQ(failure(R"({"fp16": {"loss_scale": true}})"),
            ": 'fp16.loss_scale' must be a number or \"auto\"; found true");
  EXPECT_EQ(failure(R"({"fp16": {"loss_scale": -1}})"), ": 'fp16.loss_scale' must be at least 0; found -1");
  EXPECT_EQ(failure(R"({"fp16": {"loss_scale_window": 0}})"), ": 'fp16.loss_scale_window' must be at least 1; found 0");
  EXPECT_EQ(failure(R"({"fp16": {"min_loss_scale": 0}})"), ": 'fp16.min_loss_scale' must be at least 1; found 0");
  EXPECT_EQ(failure(R"({"fp16": {"hysteresis": 0}})"), ": 'fp16.hysteresis' must be at least 1; found 0");
  EXPECT_EQ(failure(R"({"fp16": {"initial_scale_power": 128}})"),
            ": 'fp16.initial_scale_power' must be from 0 to 127; found 128");
}

TEST_F(DeepSpeedConfigTest, Bfloat16IsTheOlderNameOfBf16) {
  EXPECT_EQ(disagreement(R"({"bfloat16": {"enabled": true}})"), "bfloat16.enabled=true against --bf16=false");
  flags_.bf16 = true;
  EXPECT_NO_THROW(load(R"({"bfloat16": {"enabled": true}})"));
}

TEST_F(DeepSpeedConfigTest, APrecisionThatTheFileLeavesToDeepSpeedIsOff) {
  flags_.fp16 = true;
  EXPECT_EQ(disagreement(R"({"fp16": {"loss_scale": 0}})"),
            "fp16.enabled (DeepSpeed's default)=false against --fp16=true");
}

TEST_F(DeepSpeedConfigTest, Float16AndBfloat16ExcludeEachOther) {
  EXPECT_EQ(failure(R"({"fp16": {"enabled": true}, "bf16": {"enabled": true}})"),
            ": fp16 and bf16 exclude each other; found both enabled; switch one of them off");
}

TEST_F(DeepSpeedConfigTest, LowPrecisionStatesAreRefused) {
  EXPECT_EQ(
      failure(R"({"bf16": {"bf16_optimizer_states": true}})"),
      ": 'bf16.bf16_optimizer_states' is refused: AdamW's moments are float32; found true; remove it or switch it "
      "off");
  for (const char* const key : {"auto_cast", "fp16_master_weights_and_grads"})
    EXPECT_NE(failure(fmt::format(R"({{"fp16": {{"{}": true}}}})", key)).find("is refused"), std::string::npos) << key;
}

// ZeRO.

TEST_F(DeepSpeedConfigTest, ZeroAsABooleanIsStageOneOrNone) {
  EXPECT_EQ(load(R"({"zero_optimization": true})").stage, 1);
  EXPECT_EQ(load(R"({"zero_optimization": false})").stage, 0);
  EXPECT_EQ(failure(R"({"zero_optimization": 2})"), ": 'zero_optimization' must be an object, true or false; found 2");
}

TEST_F(DeepSpeedConfigTest, StageThreeAndOffloadingAreNotBuilt) {
  EXPECT_EQ(failure(R"({"zero_optimization": {"stage": 3}})"),
            ": 'zero_optimization.stage' 3 is not built yet; use stage 2");
  EXPECT_EQ(failure(R"({"zero_optimization": {"stage": 4}})"),
            ": 'zero_optimization.stage' must be from 0 to 3; found 4");
  EXPECT_EQ(failure(R"({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}})"),
            ": 'zero_optimization.offload_optimizer' is refused: offloading is not built yet; found "
            "{\"device\":\"cpu\"}; remove it or switch it off");
  EXPECT_EQ(
      failure(R"({"zero_optimization": {"cpu_offload": true}})"),
      ": 'zero_optimization.cpu_offload' is refused: means offload_optimizer, which is not built yet; found true; "
      "remove it or switch it off");
}

TEST_F(DeepSpeedConfigTest, OffloadingToNoDeviceIsTaken) {
  EXPECT_NO_THROW(load(R"({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none", "ratio": 1.0},
                                                 "offload_param": null, "cpu_offload": false}})"));
}

TEST_F(DeepSpeedConfigTest, BucketSizesAreUpperBounds) {
  const auto config = load(R"({"zero_optimization": {"reduce_bucket_size": 2e8, "allgather_bucket_size": 1000}})");
  EXPECT_EQ(config.reduce_bucket_elements, 200'000'000);
  EXPECT_EQ(config.allgather_bucket_elements, 1000);
  EXPECT_EQ(load(R"({"zero_optimization": {"reduce_bucket_size": "auto"}})").reduce_bucket_elements, std::nullopt);
  EXPECT_EQ(failure(R"({"zero_optimization": {"allgather_bucket_size": 1001}})"),
            ": 'zero_optimization.allgather_bucket_size' must be even, as partitions are aligned to 2 elements; found "
            "1001");
  EXPECT_EQ(failure(R"({"zero_optimization": {"reduce_bucket_size": 0}})"),
            ": 'zero_optimization.reduce_bucket_size' must be at least 1; found 0");
}

TEST_F(DeepSpeedConfigTest, KeysOfStageThreeAreTakenInSilence) {
  EXPECT_EQ(said(R"({"zero_optimization": {"stage": 2, "stage3_prefetch_bucket_size": "auto", "sub_group_size": 1e9,
                     "stage3_param_persistence_threshold": "auto", "stage3_max_live_parameters": 1e9,
                     "stage3_gather_16bit_weights_on_model_save": true, "round_robin_gradients": true}})"),
            "");
}

TEST_F(DeepSpeedConfigTest, HybridShardingAndQuantisedTrafficAreRefused) {
  for (const char* const wrong : {R"("zero_hpz_partition_size": 8)", R"("mics_shard_size": 4)",
                                  R"("zero_quantized_weights": true)", R"("zero_quantized_gradients": true)",
                                  R"("zeropp_loco_param": {"err_beta": 0.8})", R"("zenflow": {"topk_ratio": 0.1})"})
    EXPECT_NE(failure(fmt::format(R"({{"zero_optimization": {{{}}}}})", wrong)).find("is refused"), std::string::npos)
        << wrong;
  EXPECT_NO_THROW(load(R"({"zero_optimization": {"zero_hpz_partition_size": 1, "mics_shard_size": -1,
                                                 "zero_quantized_weights": false, "zeropp_loco_param": null}})"));
}

// How gradients are added up.

TEST_F(DeepSpeedConfigTest, TakesTheDtypesOfGradients) {
  const auto config = load(R"({"communication_data_type": "bf16", "data_types": {"grad_accum_dtype": "fp32"}})");
  EXPECT_EQ(config.communication_dtype, DeepSpeedDtype::kBfloat16);
  EXPECT_EQ(config.accumulation_dtype, DeepSpeedDtype::kFloat32);
  EXPECT_EQ(failure(R"({"communication_data_type": "int8"})"),
            ": 'communication_data_type' must be fp16, bf16 or fp32; found \"int8\"");
  EXPECT_EQ(said(R"({"data_types": {"grad_accum_dtype": "bf16"}})"),
            "warning: : 'data_types.grad_accum_dtype' bf16 is ignored: gradients are added up in float32\n");
}

TEST_F(DeepSpeedConfigTest, WithoutReduceScatterAWarningSaysWhatTakesItsPlace) {
  EXPECT_EQ(said(R"({"zero_optimization": {"stage": 1, "reduce_scatter": false}})"),
            "warning: : 'zero_optimization.reduce_scatter' false is ignored: gradients are reduce-scattered, the same "
            "sum up to rounding\n");
  EXPECT_EQ(said(R"({"zero_optimization": {"stage": 0, "reduce_scatter": false}})"), "");
}

TEST_F(DeepSpeedConfigTest, DividingGradientsBeforehandIsRefusedUnderReduceScatterAsByDeepSpeed) {
  const std::string zero = R"(, "zero_optimization": {"stage": 2}})";
  EXPECT_EQ(failure(R"({"prescale_gradients": true)" + zero),
            ": 'prescale_gradients' must be false under ZeRO with reduce_scatter, for which DeepSpeed has not built it "
            "either; found true");
  EXPECT_EQ(failure(R"({"gradient_predivide_factor": 2)" + zero),
            ": 'gradient_predivide_factor' must be 1 under ZeRO with reduce_scatter, for which DeepSpeed has not built "
            "it either; found 2");
  EXPECT_NO_THROW(load(R"({"prescale_gradients": true, "gradient_predivide_factor": 4})"));
  EXPECT_NO_THROW(load(R"({"prescale_gradients": true, "zero_optimization": {"stage": 2, "reduce_scatter": false}})"));
  EXPECT_EQ(failure(R"({"gradient_predivide_factor": 0})"), ": 'gradient_predivide_factor' must be above 0; found 0");
}

TEST_F(DeepSpeedConfigTest, TheSumOfTheRanksGradientsIsRefused) {
  EXPECT_EQ(failure(R"({"gradient_allreduce_op": "sum"})"),
            ": 'gradient_allreduce_op' must be mean: a sum over ranks would multiply the gradients by their number; "
            "found \"sum\"");
  EXPECT_NO_THROW(load(R"({"gradient_allreduce_op": "mean"})"));
}

// The rest of the file.

TEST_F(DeepSpeedConfigTest, TakesTheLastBatchAndNodeLocalStorage) {
  const auto config = load(R"({"dataloader_drop_last": true, "checkpoint": {"use_node_local_storage": true}})");
  EXPECT_TRUE(config.drop_last);
  EXPECT_TRUE(config.node_local_checkpoints);
  EXPECT_EQ(
      failure(R"({"checkpoint": {"load_universal": true}})"),
      ": 'checkpoint.load_universal' is refused: any number of ranks loads our checkpoints; found true; remove it "
      "or switch it off");
}

TEST_F(DeepSpeedConfigTest, AnUnknownKeyAtTheTopIsAWarningWithTheNearestName) {
  EXPECT_EQ(
      said(R"({"zero_optimisation": {"stage": 2}})"),
      "warning: : 'zero_optimisation' is no key of DeepSpeed and is ignored; did you mean 'zero_optimization'?\n");
  EXPECT_EQ(said(R"({"my note": 1})"), "warning: : 'my note' is no key of DeepSpeed and is ignored\n");
  EXPECT_EQ(said(R"({"a\nb": 1})"), "warning: : 'a\\nb' is no key of DeepSpeed and is ignored\n");
}

TEST_F(DeepSpeedConfigTest, AnUnknownKeyWithinASectionIsAnErrorWithTheNearestName) {
  EXPECT_EQ(failure(R"({"zero_optimization": {"reduce_bucket_sise": 1}})"),
            ": 'zero_optimization.reduce_bucket_sise' is no key of DeepSpeed; did you mean 'reduce_bucket_size'?");
  EXPECT_EQ(failure(R"({"fp16": {"enable": true}})"),
            ": 'fp16.enable' is no key of DeepSpeed; did you mean 'enabled'?");
  EXPECT_EQ(failure(R"({"bf16": {"window": 1}})"),
            ": 'bf16.window' is no key of DeepSpeed; remove it, or see docs/DEEPSPEED.md");
  EXPECT_EQ(failure(R"({"zero_optimization": {"offload_param": {"devise": "none"}}})"),
            ": 'zero_optimization.offload_param.devise' is no key of DeepSpeed; did you mean 'device'?");
}

TEST_F(DeepSpeedConfigTest, WhatChangesTheMathsIsRefusedOnlyWhereItIsOn) {
  for (const char* const wrong :
       {R"("amp": {"enabled": true})", R"("torch_autocast": {"enabled": true})", R"("elasticity": {"enabled": true})",
        R"("sparse_attention": {"mode": "fixed"})", R"("sparse_gradients": true)",
        R"("compression_training": {"weight_quantization": {"shared_parameters": {"enabled": true}}})",
        R"("quantize_training": {"enabled": true})", R"("curriculum_learning": {"enabled": true})",
        R"("data_efficiency": {"enabled": true})", R"("progressive_layer_drop": {"enabled": true})",
        R"("pipeline": {"stages": 4})", R"("tensor_parallel": {"autotp_size": 2})",
        R"("expert_parallel": {"enabled": true})", R"("hybrid_engine": {"enabled": true})",
        R"("compile": {"enabled": true})", R"("nebula": {"enabled": true})", R"("zenflow": {"topk_ratio": 0.1})",
        R"("eigenvalue": {"enabled": true})", R"("sequence_parallel_size": 2)"})
    EXPECT_NE(failure(fmt::format("{{{}}}", wrong)).find("is refused"), std::string::npos) << wrong;
  EXPECT_EQ(
      said(
          R"({"amp": {"enabled": false, "opt_level": "auto"}, "elasticity": {"enabled": false, "max_train_batch_size": 9},
               "compression_training": {"weight_quantization": {"shared_parameters": {"enabled": false, "schedule_offset": 50},
               "different_groups": {"wq1": {"params": {"start_bits": 8}}}}}, "pipeline": {"stages": "auto"}, "sparse_attention": null,
               "tensor_parallel": {"autotp_size": 1}, "sparse_gradients": false, "compile": {"enabled": false, "backend": "inductor"}})"),
      "");
}

TEST_F(DeepSpeedConfigTest, ElasticityIsRefusedWithItsReason) {
  EXPECT_EQ(failure(R"({"elasticity": {"enabled": true}})"),
            ": 'elasticity' is refused: it sets the batch by itself; write the batch you want; found "
            "{\"enabled\":true}; remove it or switch it off");
}

TEST_F(DeepSpeedConfigTest, ALongValueIsShownShort) {
  EXPECT_EQ(failure(R"({"sparse_attention": {"mode": "fixed", "block": 16, "attention": "bidirectional", "x": 1}})"),
            ": 'sparse_attention' is refused: attention is dense; found "
            "{\"mode\":\"fixed\",\"block\":16,\"attention\":\"bidirectional\",\"x\":1...; remove it or switch it off");
}

TEST_F(DeepSpeedConfigTest, WhatHasNoEffectSaysWhatTakesItsPlace) {
  EXPECT_EQ(said(R"({"tensorboard": {"enabled": true, "output_path": "x"}, "wall_clock_breakdown": true,
                     "wandb": {"enabled": true}, "activation_checkpointing": {"partition_activations": true},
                     "aio": {"block_size": 1048576}, "bf16": {"check_grad_overflow": false, "immediate_grad_update": true}})"),
            "info: : 'tensorboard' changes nothing: TensorBoard events are written to --logging_dir by default\n"
            "info: : 'wall_clock_breakdown' changes nothing: trainer_log.jsonl has tokens_per_second and times\n"
            "warning: : 'wandb' is ignored: no log goes to Weights & Biases\n"
            "warning: : 'activation_checkpointing' is ignored: --recompute_layers decides, as HF's flag did\n"
            "warning: : 'aio' is ignored: nothing is swapped to NVMe\n"
            "info: : 'bf16.check_grad_overflow' changes nothing: gradients are checked before every update\n"
            "warning: : 'bf16.immediate_grad_update' is ignored: gradients are added to float32 sums at once\n");
  EXPECT_EQ(said(R"({"tensorboard": {"enabled": false}, "wandb": {"enabled": false}, "steps_per_print": 10,
                     "activation_checkpointing": {"partition_activations": false, "number_checkpoints": null},
                     "wall_clock_breakdown": false, "zero_allow_untested_optimizer": true, "vocabulary_size": 64000})"),
            "");
}

TEST_F(DeepSpeedConfigTest, WrongTypesAreNamedWithFileKeyAndValue) {
  EXPECT_EQ(failure(R"({"zero_optimization": {"overlap_comm": "yes"}})"),
            ": 'zero_optimization.overlap_comm' must be true, false or \"auto\"; found \"yes\"");
  EXPECT_EQ(failure(R"({"zero_optimization": {"stage": "two"}})"),
            ": 'zero_optimization.stage' must be an integer or \"auto\"; found \"two\"");
  EXPECT_EQ(failure(R"({"fp16": true})"), ": 'fp16' must be an object; found true");
  EXPECT_EQ(failure(R"({"communication_data_type": 16})"), ": 'communication_data_type' must be a text; found 16");
}

TEST_F(DeepSpeedConfigTest, WhatIsNoJsonIsADataError) {
  EXPECT_THROW(load("{\"a\": "), DataError);
  EXPECT_THROW(load_deepspeed_config("no_such_file.json", flags_, 1), DataError);
}

}  // namespace
}  // namespace baichuan
