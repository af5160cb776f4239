// `baichuan train` as a user runs it: the README's command lines, wrong ones, signals, kills and resuming.
#include <chrono>
#include <csignal>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/files.h"
#include "core/json.h"
#include "tests/cli/program.h"
#include "tests/cli/tiny_checkpoint.h"

namespace baichuan {
namespace {

class TrainCommand : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "train_command_XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    write_tiny_checkpoint(directory_ / "model", 512);
    Json rows = Json::array();
    for (int i = 0; i < 40; ++i)
      rows.push_back({{"instruction", "Say the number."},
                      {"input", std::to_string(i)},
                      {"output", "Number " + std::to_string(i) + "."}});
    write_json_file(directory_ / "rows.json", rows);
    setup_.environment["XDG_CACHE_HOME"] = (directory_ / "cache").string();
  }
  void TearDown() override { remove_quietly(directory_); }

  std::vector<std::string> command(const std::string& output, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{"train",
                                   "--stage",
                                   "sft",
                                   "--do_train",
                                   "--model_name_or_path",
                                   (directory_ / "model").string(),
                                   "--dataset",
                                   (directory_ / "rows.json").string(),
                                   "--template",
                                   "baichuan",
                                   "--finetuning_type",
                                   "lora",
                                   "--output_dir",
                                   (directory_ / output).string(),
                                   "--per_device_train_batch_size",
                                   "2",
                                   "--gradient_accumulation_steps",
                                   "2",
                                   "--learning_rate",
                                   "1e-3",
                                   "--num_train_epochs",
                                   "6",
                                   "--logging_steps",
                                   "2",
                                   "--save_steps",
                                   "5",
                                   "--device",
                                   "cpu",
                                   "--val_size",
                                   "4",
                                   "--evaluation_strategy",
                                   "steps",
                                   "--eval_steps",
                                   "5"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  RunResult train(const std::string& output, const std::vector<std::string>& more = {}) {
    return run_baichuan(command(output, more), setup_);
  }

  // Starts the command, waits for `file` to appear in its output, sends `signal`; the wait status.
  int train_and_signal(const std::string& output,
                       const std::string& file,
                       int signal,
                       const std::vector<std::string>& more = {}) {
    const auto words = command(output, more);
    const pid_t child = ::fork();
    if (child == 0) {
      for (const auto& [name, value] : setup_.environment) ::setenv(name.c_str(), value.c_str(), 1);
      std::vector<char*> argv{const_cast<char*>(BAICHUAN_BINARY_DIR "/bin/baichuan")};
      for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
      argv.push_back(nullptr);
      ::freopen((directory_ / "stderr.txt").c_str(), "w", stderr);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    const auto wanted = directory_ / output / file;
    for (int i = 0; i < 6000 && !std::filesystem::exists(wanted); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ::kill(child, signal);
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  }

  // The run ends with `status` and one line that says `words`, before it has read the rows or the model.
  void expect_early_refusal(const RunResult& run, int status, const std::string& words) {
    EXPECT_EQ(run.status, status) << run.err;
    const auto error = run.err.rfind("error: ");
    ASSERT_NE(error, std::string::npos) << run.err;
    EXPECT_EQ(run.err.find('\n', error), run.err.size() - 1) << "one line: " << run.err;
    EXPECT_NE(run.err.find(words, error), std::string::npos) << run.err;
    EXPECT_EQ(run.err.find("first training row"), std::string::npos) << run.err;
  }

  void expect_same_adapter(const std::string& a, const std::string& b) {
    EXPECT_EQ(read_file(directory_ / a / "adapter_model.safetensors"),
              read_file(directory_ / b / "adapter_model.safetensors"));
  }

  std::filesystem::path directory_;
  RunSetup setup_;
};

TEST_F(TrainCommand, TrainsAndLeavesAnAdapterThatChatAndExportTake) {
  const auto run = train("out");
  ASSERT_EQ(run.status, 0) << run.err;
  EXPECT_EQ(run.out, "") << "results go to files";
  const auto model = (directory_ / "model").string();
  const auto adapter = (directory_ / "out").string();
  const auto merged = (directory_ / "merged").string();
  const auto exported = run_baichuan(
      {"export", "--model_name_or_path", model, "--adapter_name_or_path", adapter, "--output_dir", merged, "--verify"},
      setup_);
  ASSERT_EQ(exported.status, 0) << exported.err;
  const std::vector<std::string> question{"--message", "Say the number.",  "--do_sample",
                                          "false",     "--max_new_tokens", "8"};
  std::vector<std::string> with_adapter{"chat", "--model_name_or_path", model, "--adapter_name_or_path", adapter};
  std::vector<std::string> with_merged{"chat", "--model_name_or_path", merged};
  with_adapter.insert(with_adapter.end(), question.begin(), question.end());
  with_merged.insert(with_merged.end(), question.begin(), question.end());
  const auto first = run_baichuan(with_adapter, setup_);
  const auto second = run_baichuan(with_merged, setup_);
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_EQ(first.out, second.out);
}

TEST_F(TrainCommand, ASignalSavesAndTheRunGoesOnWithTheSameBits) {
  ASSERT_EQ(train("whole").status, 0);
  for (const auto& [signal, status] : {std::pair{SIGTERM, 143}, std::pair{SIGINT, 130}}) {
    const std::string output = "stopped" + std::to_string(signal);
    const int ended = train_and_signal(output, "checkpoint-5/manifest.json", signal);
    ASSERT_TRUE(WIFEXITED(ended));
    if (WEXITSTATUS(ended) == 0) continue;  // the run was over before the signal came
    EXPECT_EQ(WEXITSTATUS(ended), status) << read_file(directory_ / "stderr.txt");
    const auto resumed = train(output, {"--resume_from_checkpoint", "latest"});
    ASSERT_EQ(resumed.status, 0) << resumed.err;
    expect_same_adapter("whole", output);
  }
}

TEST_F(TrainCommand, AKilledRunGoesOnFromItsNewestCheckpoint) {
  ASSERT_EQ(train("whole").status, 0);
  train_and_signal("killed", "checkpoint-5/manifest.json", SIGKILL);
  const auto resumed = train("killed", {"--resume_from_checkpoint", "true"});
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  expect_same_adapter("whole", "killed");
}

TEST_F(TrainCommand, AFolderThatHoldsACheckpointIsRefusedWithBothWaysOut) {
  ASSERT_EQ(train("out").status, 0);
  const auto again = train("out");
  EXPECT_EQ(again.status, 1);
  EXPECT_NE(again.err.find("--overwrite_output_dir"), std::string::npos) << again.err;
  EXPECT_NE(again.err.find("--resume_from_checkpoint"), std::string::npos) << again.err;
}

TEST_F(TrainCommand, AnOutputDirectoryThatCannotBeWrittenIsRefusedBeforeAnythingIsRead) {
  write_file_atomically(directory_ / "file", "");
  const std::string below = (directory_ / "file" / "below").string();
  expect_early_refusal(train("out", {"--output_dir", below}), 1, "cannot create the output directory " + below);
  // Nobody makes files here, whatever the user may do elsewhere.
  expect_early_refusal(train("out", {"--output_dir", "/proc/self"}), 1, "--output_dir /proc/self must be writable");
}

TEST_F(TrainCommand, AnOutputDirectoryThatAnotherRunHoldsIsRefusedBeforeAnythingIsRead) {
  std::filesystem::create_directories(directory_ / "out");
  const int held = ::open((directory_ / "out").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(::flock(held, LOCK_EX | LOCK_NB), 0);
  expect_early_refusal(train("out"), 1, "one run at a time");
  ::close(held);
  EXPECT_EQ(train("out", {"--max_steps", "1"}).status, 0);
}

TEST_F(TrainCommand, ACheckpointThatCannotBeResumedIsRefusedBeforeAnythingIsRead) {
  const std::vector<std::string> resume{"--resume_from_checkpoint", "latest"};
  expect_early_refusal(train("out", resume), 1, "needs a checkpoint-<step>");
  std::filesystem::create_directories(directory_ / "python" / "checkpoint-3");
  write_file_atomically(directory_ / "python" / "checkpoint-3" / "optimizer.pt", "");
  expect_early_refusal(train("python", resume), 1, "it is a checkpoint of the Python stack");
  ASSERT_EQ(train("out", {"--max_steps", "10"}).status, 0);
  const auto damaged = directory_ / "out" / "checkpoint-10" / "adapter_model.safetensors";
  std::string bytes = read_file(damaged);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file_atomically(damaged, bytes);
  expect_early_refusal(train("out", resume), 1, "adapter_model.safetensors");
  expect_early_refusal(train("out", resume), 1, "checkpoint-5 instead, the newest undamaged one before it");
}

TEST_F(TrainCommand, WhatTheRunStartsFromIsNeverReplacedOrRemoved) {
  const auto model = directory_ / "model";
  const std::string weights = read_file(model / "model.safetensors");
  const std::vector<std::string> full{"--finetuning_type", "full", "--output_dir", (model / "").string()};
  expect_early_refusal(train("out", full), 2, "--output_dir must be another directory than the model's");
  EXPECT_EQ(read_file(model / "model.safetensors"), weights);

  ASSERT_EQ(train("adapter", {"--max_steps", "1"}).status, 0);
  const std::string adapter = (directory_ / "adapter").string();
  std::filesystem::create_directory_symlink("adapter", directory_ / "link");
  for (const auto* name : {"adapter", "link"})
    expect_early_refusal(train(name, {"--adapter_name_or_path", adapter, "--overwrite_output_dir"}), 2,
                         "--output_dir must be another directory than the adapter's");

  const auto checkpoint = directory_ / "out" / "checkpoint-1";
  std::filesystem::create_directories(directory_ / "out");
  std::filesystem::copy(model, checkpoint);
  expect_early_refusal(train("out", {"--model_name_or_path", checkpoint.string(), "--overwrite_output_dir"}), 2,
                       "--overwrite_output_dir removes the checkpoints");
  EXPECT_EQ(read_file(checkpoint / "model.safetensors"), weights);
}

TEST_F(TrainCommand, AnAdapterGoesWithLoraOnly) {
  const std::vector<std::string> words{"--finetuning_type", "full", "--adapter_name_or_path", "/nothing"};
  expect_early_refusal(train("out", words), 2, "--adapter_name_or_path goes with --finetuning_type lora");
}

// float16 has no fast arithmetic on CPUs: it is for checking runs that a GPU will do.
TEST_F(TrainCommand, Fp16RunsOnACpuWithOneWarning) {
  const std::string warning = "--fp16 is slow on a CPU";
  const auto run = train("half", {"--fp16", "--max_steps", "2"});
  ASSERT_EQ(run.status, 0) << run.err;
  const auto first = run.err.find(warning);
  ASSERT_NE(first, std::string::npos) << run.err;
  EXPECT_EQ(run.err.find(warning, first + 1), std::string::npos) << run.err;
  EXPECT_EQ(train("brain", {"--bf16", "--max_steps", "2"}).err.find(warning), std::string::npos);
}

TEST_F(TrainCommand, RowsToEvaluateAreAskedForByTheFlagThatNeedsThem) {
  const auto by_strategy = train("out", {"--val_size", "0"});
  EXPECT_EQ(by_strategy.status, 2);
  EXPECT_NE(by_strategy.err.find("--evaluation_strategy steps needs rows"), std::string::npos) << by_strategy.err;
  const auto by_flag = train("out", {"--val_size", "0", "--evaluation_strategy", "no", "--do_eval"});
  EXPECT_EQ(by_flag.status, 2);
  EXPECT_NE(by_flag.err.find("--do_eval needs rows"), std::string::npos) << by_flag.err;
}

TEST_F(TrainCommand, WrongUsageEndsWith2AndWrongInputWith1InOneLine) {
  struct Case {
    std::vector<std::string> words;
    int status;
  };
  const Case cases[] = {{{"--learnig_rate", "1"}, 2},
                        {{"--fp16", "--bf16"}, 2},
                        {{"--lora_target", "q_proj"}, 2},
                        {{"--optim", "sgd"}, 2},
                        {{" "}, 2},
                        {{"--evaluation_strategy", "steps", "--val_size", "0"}, 2},
                        {{"--dataset", "nothing"}, 1},
                        {{"--model_name_or_path", "/nothing"}, 1}};
  for (const auto& [words, status] : cases) {
    const auto run = train("wrong", words);
    EXPECT_EQ(run.status, status) << words.front() << ": " << run.err;
    EXPECT_TRUE(run.err.starts_with("error: ") || run.err.find("\nerror: ") != std::string::npos) << run.err;
  }
}

TEST_F(TrainCommand, EvaluatesWithoutTraining) {
  auto words = command("eval");
  std::erase(words, "--do_train");
  words.emplace_back("--do_eval");
  const auto run = run_baichuan(words, setup_);
  ASSERT_EQ(run.status, 0) << run.err;
  EXPECT_TRUE(read_json_file(directory_ / "eval" / "eval_results.json").contains("eval_loss"));
}

// The command lines of the README of Baichuan-13B, word for word after the program's name but for the blanks that end
// lines there: on real rows, with the real vocabulary, a small model in the hub's cache under the README's name.
class ReadmeCommand : public TrainCommand, public testing::WithParamInterface<int> {
 protected:
  static std::vector<std::string> words_of(int number, bool keep_blanks) {
    std::ifstream readme(BAICHUAN_SHARED_DATA "/../reference/baichuan-13b-readme.zh.txt");
    std::vector<std::string> words;
    int seen = 0;
    bool inside = false;
    for (std::string line; std::getline(readme, line);) {
      if (line.find("src/train_bash.py") != std::string::npos && line.ends_with('\\')) {
        inside = seen++ == number;
        if (inside) words = {"train"};
        continue;
      }
      if (!inside) continue;
      if (line.starts_with("```")) return words;
      const bool cut = line.ends_with("\\ ");
      std::istringstream parts(line);
      for (std::string word; parts >> word;)
        if (word != "\\") words.push_back(word);
      if (cut && keep_blanks) {
        words.emplace_back(" ");
        return words;
      }
      if (!line.ends_with('\\') && !cut) return words;
    }
    return words;
  }

  void SetUp() override {
    TrainCommand::SetUp();
    if (!std::filesystem::exists(BAICHUAN_SHARED_DATA "/alpaca_en_demo.json")) GTEST_SKIP() << "needs ../shared/data";
    hub_ = directory_ / "hub";
    const auto snapshot = hub_ / "models--baichuan-inc--Baichuan-13B-Base" / "snapshots" / "1";
    const Json shape = {{"architectures", {"BaichuanForCausalLM"}},
                        {"model_type", "baichuan"},
                        {"vocab_size", 64000},
                        {"hidden_size", 40},
                        {"intermediate_size", 56},
                        {"num_hidden_layers", 2},
                        {"num_attention_heads", 5},
                        {"model_max_length", 4096},
                        {"rms_norm_eps", 1e-6},
                        {"initializer_range", 0.02},
                        {"hidden_act", "silu"},
                        {"pad_token_id", 0},
                        {"bos_token_id", 1},
                        {"eos_token_id", 2}};
    write_json_file(directory_ / "shape.json", shape);
    const std::string tokenizer = BAICHUAN_SHARED_DATA "/baichuan_tokenizer/tokenizer.model";
    const auto made = run_baichuan({"init", "--config", (directory_ / "shape.json").string(), "--tokenizer", tokenizer,
                                    "--output_dir", snapshot.string(), "--dtype", "bf16"},
                                   setup_);
    ASSERT_EQ(made.status, 0) << made.err;
    std::filesystem::create_directories(snapshot.parent_path().parent_path() / "refs");
    write_file_atomically(snapshot.parent_path().parent_path() / "refs" / "main", "1");
    std::filesystem::create_directories(directory_ / "data");
    for (const std::string language : {"en", "zh"}) {
      Json rows = read_json_file(BAICHUAN_SHARED_DATA "/alpaca_" + language + "_demo.json");
      rows.erase(rows.begin() + 20, rows.end());
      write_json_file(directory_ / "data" / (language + ".json"), rows);
    }
    write_json_file(directory_ / "data" / "dataset_info.json", Json{{"alpaca_gpt4_en", {{"file_name", "en.json"}}},
                                                                    {"alpaca_gpt4_zh", {{"file_name", "zh.json"}}}});
    write_json_file(directory_ / "deepspeed.json", Json{{"train_micro_batch_size_per_gpu", "auto"},
                                                        {"gradient_accumulation_steps", "auto"},
                                                        {"gradient_clipping", "auto"},
                                                        {"zero_allow_untested_optimizer", true},
                                                        {"fp16",
                                                         {{"enabled", "auto"},
                                                          {"loss_scale", 0},
                                                          {"initial_scale_power", 16},
                                                          {"loss_scale_window", 1000},
                                                          {"hysteresis", 2},
                                                          {"min_loss_scale", 1}}},
                                                        {"zero_optimization",
                                                         {{"stage", 2},
                                                          {"allgather_partitions", true},
                                                          {"allgather_bucket_size", 5e8},
                                                          {"overlap_comm", false},
                                                          {"reduce_scatter", true},
                                                          {"reduce_bucket_size", 5e8},
                                                          {"contiguous_gradients", true}}}});
    setup_.environment["HF_HUB_CACHE"] = hub_.string();
    previous_ = std::filesystem::current_path();
    std::filesystem::current_path(directory_);
  }
  void TearDown() override {
    if (!previous_.empty()) std::filesystem::current_path(previous_);
    TrainCommand::TearDown();
  }

  std::filesystem::path hub_;
  std::filesystem::path previous_;
};

TEST_P(ReadmeCommand, RunsWordForWord) {
  const auto words = words_of(GetParam(), false);
  ASSERT_GT(words.size(), 30u);
  const auto run = run_baichuan(words, setup_);
  ASSERT_EQ(run.status, 0) << run.err;
  const auto output = directory_ / "path_to_your_sft_checkpoint";
  const bool lora = GetParam() == 1;
  EXPECT_TRUE(std::filesystem::exists(output / (lora ? "adapter_model.safetensors" : "model.safetensors")));
  const Json state = read_json_file(output / "trainer_state.json");
  EXPECT_EQ(state["global_step"], 4) << "39 rows for training, batch 4, accumulation 8, 2 epochs";
  EXPECT_TRUE(read_json_file(output / "all_results.json").contains("eval_loss"));
  EXPECT_TRUE(std::filesystem::exists(output / "trainer_log.jsonl"));
}

// Pasted with the blank after the backslash, the shell ends the command there and passes a blank.
TEST_P(ReadmeCommand, IsRefusedWithTheBlankThatTheShellCutsItAt) {
  const auto run = run_baichuan(words_of(GetParam(), true), setup_);
  EXPECT_EQ(run.status, 2);
  EXPECT_NE(run.err.find("argument of blanks"), std::string::npos) << run.err;
}

INSTANTIATE_TEST_SUITE_P(FullAndLora, ReadmeCommand, testing::Values(0, 1), [](const auto& which) {
  return std::string(which.param == 0 ? "Full" : "Lora");
});

}  // namespace
}  // namespace baichuan
