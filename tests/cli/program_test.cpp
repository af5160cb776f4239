// What holds for the program as a whole: what it links, how soon it answers, and its messages about commands.
#include "tests/cli/program.h"

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/tiny_checkpoint.h"
#include "tests/scratch_directory.h"

namespace baichuan {

namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const std::string kVocabulary = BAICHUAN_SOURCE_DIR "/configs/quickstart/tokenizer.model";

// With this variable the loader lists what it would load, and ends.
TEST(Program, LinksNoLibTorch) {
  const auto result = run_baichuan({}, {.environment = {{"LD_TRACE_LOADED_OBJECTS", "1"}}});
  EXPECT_THAT(result.out, HasSubstr("libc.so"));
  for (const char* heavy : {"torch", "libc10", "cuda", "mkl", "gomp", "baichuan_engine"})
    EXPECT_THAT(result.out, Not(HasSubstr(heavy)));
}

TEST(Program, AnswersAtOnceWhereNoTensorIsNeeded) {
  // A tenth of a second is promised; a machine that is busy with other tests may take longer. Loading LibTorch takes
  // several seconds of its own.
  constexpr auto kBound = std::chrono::milliseconds(1000);
  using Clock = std::chrono::steady_clock;
  for (const std::vector<std::string>& words : {std::vector<std::string>{"--help"},
                                                {"--version"},
                                                {"train", "--help"},
                                                {"help", "chat"},
                                                {"tokenize", "--model_name_or_path", kVocabulary, "--text", "hello"}}) {
    auto fastest = Clock::duration::max();
    for (int i = 0; i < 5 && fastest > kBound; ++i) {
      const auto began = Clock::now();
      EXPECT_EQ(run_baichuan(words).status, 0) << words.front();
      fastest = std::min(fastest, Clock::now() - began);
    }
    EXPECT_LT(fastest, kBound) << words.front();
  }
}

TEST(Program, NamesCommandsThatItDoesNotHave) {
  const auto message_for = [](const std::vector<std::string>& words) {
    const auto result = run_baichuan(words);
    EXPECT_EQ(result.status, 2);
    EXPECT_EQ(result.out, "");
    return result.err;
  };
  EXPECT_EQ(message_for({"trai"}),
            "error: unknown command 'trai'; did you mean 'train'?; `baichuan --help` lists the commands\n");
  EXPECT_EQ(message_for({"help", "xyzzyxyzzy"}),
            "error: unknown command 'xyzzyxyzzy'; `baichuan --help` lists the commands\n");
  EXPECT_EQ(message_for({"serve", "--port", "80"}),
            "error: the command serve is known but not built yet; `baichuan --help` lists those that are\n");
  EXPECT_EQ(message_for({"help", "quantize"}),
            "error: the command quantize is known but not built yet; `baichuan --help` lists those that are\n");
  const auto none = run_baichuan({});
  EXPECT_EQ(none.status, 2);
  EXPECT_THAT(none.out, HasSubstr("usage: baichuan COMMAND [options]"));
}

TEST(Program, SaysWhereItLooksForItsEngine) {
  const ScratchDirectory scratch;
  std::filesystem::create_directories(scratch / "bin");
  const auto copy = scratch / "bin/baichuan";
  std::filesystem::copy_file(BAICHUAN_BINARY_DIR "/bin/baichuan", copy);
  const auto missing = run_baichuan({"doctor"}, {.program = copy});
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.err, "error: expected libbaichuan_engine.so beside " + (scratch / "bin").string() +
                             " or in its ../lib; found none; build or install again\n");
  std::filesystem::create_directories(scratch / "lib");
  std::filesystem::copy_file(kVocabulary, scratch / "lib/libbaichuan_engine.so");
  const auto broken = run_baichuan({"doctor"}, {.program = copy});
  EXPECT_EQ(broken.status, 1);
  EXPECT_THAT(broken.err, HasSubstr("invalid ELF header"));
  EXPECT_EQ(run_baichuan({"--help"}, {.program = copy}).status, 0);
}

TEST(Program, LooksForAHubIdInTheCachesAlone) {
  const ScratchDirectory scratch;
  const std::string home = scratch / "hf";
  const RunSetup setup{.environment = {{"HF_HOME", home}, {"HF_HUB_CACHE", ""}, {"HUGGINGFACE_HUB_CACHE", ""}}};
  const std::string id = "baichuan-inc/Baichuan-13B-Base";
  const auto message = [&](const std::string& searched) {
    return "error: expected a model directory or a hub id in a local cache; " + id +
           " (revision main) is no directory here and is not in " + searched +
           ", ModelScope's cache; download it with " + "`hf download " + id +
           "` (`huggingface-cli download` before version 1), or give its directory\n";
  };
  const std::vector<std::vector<std::string>> commands = {
      {"score", "--input", "-"},
      {"export", "--output_dir", scratch / "merged"},
      {"bench", "train"},
      {"bench", "decode"},
      {"chat", "--message", "hello"},
      {"train", "--do_train", "--output_dir", scratch / "run", "--dataset", "d"}};
  for (auto words : commands) {
    words.insert(words.end(), {"--model_name_or_path", id, "--log_level", "error"});
    const auto result = run_baichuan(words, setup);
    EXPECT_EQ(result.status, 1) << words.front();
    EXPECT_EQ(result.err, message(home + "/hub")) << words.front();
  }
  EXPECT_EQ(run_baichuan({"tokenize", "--text", "a", "--model_name_or_path", id, "--cache_dir", "cache"}, setup).err,
            message("cache, " + home + "/hub"));
}

// A cache of keys and values that no machine holds: the allocator's own error.
TEST(Program, PrintsATraceBelowTheErrorOnlyWhenAsked) {
  const ScratchDirectory scratch;
  write_tiny_checkpoint(scratch / "model", /*window=*/96);
  const auto run = [&](const char* trace) {
    return run_baichuan({"bench", "decode", "--model_name_or_path", scratch / "model", "--device", "cpu",
                         "--new_tokens", "1000000000000"},
                        {.environment = {{"BAICHUAN_TRACE", trace}}});
  };
  const auto plain = run("0");
  EXPECT_EQ(plain.status, 1);
  EXPECT_THAT(plain.err, StartsWith("error: "));
  EXPECT_EQ(std::count(plain.err.begin(), plain.err.end(), '\n'), 1) << plain.err;
  const auto traced = run("1");
  EXPECT_EQ(traced.status, 1);
  EXPECT_THAT(traced.err, StartsWith(plain.err));
  EXPECT_THAT(traced.err.substr(plain.err.size()), HasSubstr("\nframe #0: "));
  EXPECT_GT(std::count(traced.err.begin(), traced.err.end(), '\n'), 5);
}

TEST(Program, DoctorHoldsItsLogToTheLevelAsked) {
  const auto wrong = run_baichuan({"doctor", "--log_level", "loud"});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.err, AllOf(StartsWith("error: "), HasSubstr("loud")));
  EXPECT_EQ(run_baichuan({"doctor", "--json", "--log_level", "off"}).err, "");
}

}  // namespace

}  // namespace baichuan
