#include "app/command_line.h"

#include <fstream>

#include <gtest/gtest.h>

#include "app/command.h"
#include "app/train_options.h"
#include "core/error.h"

namespace baichuan {
namespace {

class CommandLineTest : public testing::Test {
 protected:
  CommandLineTest() { options_.add_to(table_); }

  bool parse(const std::vector<std::string>& words) { return parse_command_line(table_, words, /*allow_recipe=*/true); }

  std::string failure(const std::vector<std::string>& words) {
    try {
      parse(words);
      options_.validate(table_);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "nothing was thrown";
  }

  std::string write_recipe(const std::string& text) {
    const std::string path = testing::TempDir() + "recipe_test.json";
    std::ofstream(path) << text;
    return path;
  }

  TrainCommandOptions options_;
  OptionTable table_;
};

const std::vector<std::string> kRequired{"--model_name_or_path", "m", "--output_dir", "o", "--do_train"};

std::vector<std::string> with_required(std::vector<std::string> words) {
  words.insert(words.begin(), kRequired.begin(), kRequired.end());
  return words;
}

TEST_F(CommandLineTest, ReadsEveryWayOfWritingAValue) {
  parse({"--learning_rate", "1e-4", "--lora-rank=16", "--fp16", "--do_train", "true", "--plot_loss=False",
         "--max_steps", "-1"});
  EXPECT_EQ(options_.optimization.learning_rate, 1e-4);
  EXPECT_EQ(options_.lora.lora_rank, 16);
  EXPECT_TRUE(options_.optimization.fp16);
  EXPECT_TRUE(options_.finetuning.do_train);
  EXPECT_FALSE(options_.finetuning.plot_loss);
  EXPECT_EQ(options_.optimization.max_steps, -1);
}

TEST_F(CommandLineTest, TheLastOfARepeatedFlagWins) {
  parse({"--seed", "1", "--seed", "2"});
  EXPECT_EQ(options_.run.seed, 2);
}

TEST_F(CommandLineTest, TakesUnambiguousAbbreviationsAsArgparseDoes) {
  parse({"--learning", "1e-3", "--gradient_acc", "4"});
  EXPECT_EQ(options_.optimization.learning_rate, 1e-3);
  EXPECT_EQ(options_.optimization.gradient_accumulation_steps, 4);
  EXPECT_TRUE(failure({"--lora_", "8"}).starts_with("--lora_ is ambiguous; it could be --lora_alpha, "));
}

TEST_F(CommandLineTest, TakesOlderNames) {
  parse({"--prompt_template", "baichuan", "--dev_ratio", "0.01", "--source_prefix", "s", "--checkpoint_dir", "a,b",
         "--eval_strategy", "steps"});
  EXPECT_EQ(options_.data.template_name, "baichuan");
  EXPECT_EQ(options_.data.val_size, 0.01);
  EXPECT_EQ(options_.data.system_prompt, "s");
  EXPECT_EQ(options_.model.adapter_name_or_path, "a,b");
  EXPECT_EQ(options_.logging.evaluation_strategy, "steps");
}

TEST_F(CommandLineTest, NegatesWhatIsTrueByDefault) {
  parse({"--no_resume_lora_training"});
  EXPECT_FALSE(options_.launcher.resume_lora_training);
}

TEST_F(CommandLineTest, UnknownFlagsAreNamedWithTheNearest) {
  EXPECT_EQ(failure({"--learnig_rate", "1"}),
            "unknown option --learnig_rate; did you mean --learning_rate?; --help lists the options");
  EXPECT_EQ(failure({"-x"}), "unknown option -x; --help lists the options");
  EXPECT_EQ(failure({"--learning_rate"}), "--learning_rate needs a value");
  EXPECT_EQ(failure({"--learning_rate", "--fp16"}), "--learning_rate needs a value");
  EXPECT_EQ(failure({"stray"}), "unexpected argument 'stray'; options start with -- and a recipe is one .json file");
}

// The README's commands hold lines that end in a backslash and a blank: the shell then passes a blank and ends there.
TEST_F(CommandLineTest, AnArgumentOfBlanksStopsTheRun) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--lora_rank", "8", " "}, {"--fp16", " "}, {" ", "--fp16"}}) {
    EXPECT_TRUE(failure(words).starts_with("expected an option; found an argument of blanks")) << words.size();
  }
}

TEST_F(CommandLineTest, WhatIsKnownButNotBuiltStopsWithItsName) {
  EXPECT_EQ(failure({"--neftune_noise_alpha", "5"}), "--neftune_noise_alpha is known but not built yet; leave it out");
  EXPECT_EQ(failure({"--predict_with_generate"}),
            "--predict_with_generate is known but not built yet; leave it out or at false");
  EXPECT_TRUE(parse({"--predict_with_generate", "false", "--num_beams", "1"}));
}

TEST_F(CommandLineTest, AcceptsWhatHasNoEffect) {
  EXPECT_TRUE(parse({"--dataloader_num_workers", "4", "--tf32", "true"}));
}

TEST_F(CommandLineTest, ARecipeSetsWhatTheFlagsThenOverride) {
  const auto path =
      write_recipe(R"({"learning_rate": 1e-3, "fp16": true, "lora_target": ["W_pack", "o_proj"], "seed": null})");
  parse({path, "--learning_rate", "1e-5"});
  EXPECT_EQ(options_.optimization.learning_rate, 1e-5);
  EXPECT_TRUE(options_.optimization.fp16);
  EXPECT_EQ(options_.lora.lora_target, "W_pack,o_proj");
  EXPECT_TRUE(table_.given("learning_rate"));
  EXPECT_FALSE(table_.given("seed"));
}

TEST_F(CommandLineTest, MistakesInARecipeAreNamed) {
  auto path = write_recipe(R"({"learning_rte": 1})");
  EXPECT_EQ(failure({path}), path + ": unknown option 'learning_rte'; did you mean 'learning_rate'?");
  path = write_recipe("[1]");
  EXPECT_EQ(failure({path}), path + ": expected a JSON object of options; found array");
  path = write_recipe(R"({"seed": {"a": 1}})");
  EXPECT_EQ(failure({path}), path + ": 'seed' must be a string, a number, true or false; found {\"a\":1}");
}

TEST_F(CommandLineTest, AModelIsRequired) {
  EXPECT_EQ(failure({"--output_dir", "o"}), "--model_name_or_path is required: a model directory or a hub id");
}

TEST_F(CommandLineTest, AnOutputFolderIsRequired) {
  EXPECT_EQ(failure({"--model_name_or_path", "m"}), "--output_dir is required: where checkpoints and results go");
}

TEST_F(CommandLineTest, SomethingToDoIsRequired) {
  EXPECT_EQ(failure({"--model_name_or_path", "m", "--output_dir", "o"}), "nothing to do: give --do_train or --do_eval");
}

TEST_F(CommandLineTest, PrecisionsMustAgree) {
  EXPECT_EQ(failure(with_required({"--fp16", "--bf16"})),
            "--fp16 and --bf16 exclude each other; give one compute type");
}

TEST_F(CommandLineTest, ComputeAndStorageMustNotBeDifferent16BitTypes) {
  EXPECT_EQ(failure(with_required({"--fp16", "--dtype", "bf16"})),
            "--fp16 cannot compute with --dtype bf16; give one 16-bit type");
}

TEST_F(CommandLineTest, Bf16CannotComputeWithFp16Weights) {
  EXPECT_EQ(failure(with_required({"--bf16", "--dtype", "fp16"})),
            "--bf16 cannot compute with --dtype fp16; give one 16-bit type");
}

TEST_F(CommandLineTest, TheBestModelNeedsEvaluationsWhereItIsSaved) {
  EXPECT_EQ(failure(with_required({"--load_best_model_at_end"})),
            "--load_best_model_at_end needs --evaluation_strategy steps or epoch; found no");
}

TEST_F(CommandLineTest, TheBestModelNeedsEqualStrategies) {
  EXPECT_EQ(
      failure(with_required({"--load_best_model_at_end", "--evaluation_strategy", "epoch"})),
      "--load_best_model_at_end needs --save_strategy and --evaluation_strategy to be equal; found steps and epoch");
}

TEST_F(CommandLineTest, TheBestModelNeedsRoundMultiples) {
  EXPECT_EQ(failure(with_required({"--load_best_model_at_end", "--evaluation_strategy", "steps", "--eval_steps", "30",
                                   "--save_steps", "100"})),
            "--load_best_model_at_end needs --save_steps to be a round multiple of --eval_steps; found 100 and 30");
}

TEST_F(CommandLineTest, StagesThatAreNotBuiltAreNamed) {
  EXPECT_EQ(failure(with_required({"--stage", "ppo"})), "--stage ppo is known but not built yet; only sft is");
}

TEST_F(CommandLineTest, MethodsThatAreNotBuiltAreNamed) {
  EXPECT_EQ(failure(with_required({"--finetuning_type", "freeze"})),
            "--finetuning_type freeze is known but not built yet; use full or lora");
}

TEST_F(CommandLineTest, RecomputeLayersIsANumberOrAWord) {
  EXPECT_EQ(failure(with_required({"--recompute_layers", "some"})),
            "--recompute_layers must be a number of layers, all, none or auto; found 'some'");
}

TEST_F(CommandLineTest, RecomputeLayersIsNoNumberBeyondAnyModel) {
  EXPECT_EQ(failure(with_required({"--recompute_layers", "99999999999999999999"})),
            "--recompute_layers must be a number of layers, all, none or auto; found '99999999999999999999'");
}

TEST_F(CommandLineTest, UnknownReportersAreNamed) {
  EXPECT_EQ(failure(with_required({"--report_to", "wandb"})),
            "--report_to must be tensorboard, none or all; found 'wandb'");
}

TEST(Commands, OfTheInterfaceAreBuiltOrPlanned) {
  for (const char* name : {"train", "export", "chat", "serve", "eval", "score", "quantize", "plan", "tokenize",
                           "preview", "init", "doctor", "bench train", "bench decode"})
    EXPECT_NE(find_command(name) != nullptr, is_planned_command(name)) << name;
}

TEST(Commands, ThatLoadAModelToRunItKnowHowItMayBeQuantised) {
  for (const char* name : {"chat", "score", "bench train", "bench decode"}) {
    const auto options = find_command(name)->make_options();
    OptionTable table;
    options->add_to(table);
    for (const char* flag : {"quantization_bit", "group_size", "kv_cache_dtype", "quantize_embeddings"})
      EXPECT_NE(table.find(flag), nullptr) << name << " --" << flag;
  }
}

TEST(Commands, TakeTheTemplateUnderItsFirstName) {
  for (const char* name : {"train", "preview", "chat", "tokenize", "export"}) {
    const auto options = find_command(name)->make_options();
    OptionTable table;
    options->add_to(table);
    EXPECT_EQ(table.find("prompt_template"), table.find("template")) << name;
    EXPECT_NE(table.find("template"), nullptr) << name;
  }
}

// Adding a flag that another group of the same command already has throws when the table is made.
TEST(Commands, HaveUniqueFlagsAndHelpThatEndsAsASentence) {
  for (const auto& command : commands()) {
    const auto options = command.make_options();
    OptionTable table;
    options->add_to(table);
    EXPECT_FALSE(help_text(table, std::string(command.usage), "").empty());
    for (const auto& slot : table.slots())
      EXPECT_TRUE(slot.info.help.ends_with('.')) << command.name << " --" << slot.info.name;
  }
}

}  // namespace
}  // namespace baichuan
