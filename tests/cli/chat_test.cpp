#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "core/files.h"
#include "tests/cli/program.h"
#include "tests/cli/tiny_checkpoint.h"
#include "tests/pseudo_terminal.h"
#include "tests/scratch_directory.h"

namespace baichuan {

namespace {

class ChatProgram : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    scratch_ = std::make_unique<ScratchDirectory>();
    write_tiny_checkpoint(*scratch_ / "model", /*window=*/160);
  }
  static void TearDownTestSuite() { scratch_.reset(); }

  static std::vector<std::string> chat(std::vector<std::string> more) {
    std::vector<std::string> words = {"chat", "--model_name_or_path", (*scratch_ / "model").string()};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  static std::unique_ptr<ScratchDirectory> scratch_;
};

std::unique_ptr<ScratchDirectory> ChatProgram::scratch_;

TEST_F(ChatProgram, AnswersAMessageOnStandardOutputAndNothingElseThere) {
  const auto first = run_baichuan(chat({"--message", "hello", "--max_new_tokens", "12"}));
  EXPECT_EQ(first.status, 0) << first.err;
  EXPECT_FALSE(first.out.empty());
  EXPECT_TRUE(first.out.ends_with('\n'));
  EXPECT_EQ(first.out.find('\x1b'), std::string::npos);
  EXPECT_NE(first.err.find("tokens/s"), std::string::npos);

  const auto quiet = run_baichuan(chat({"--message", "hello", "--max_new_tokens", "12", "--log_level", "warning"}));
  EXPECT_EQ(quiet.out, first.out);
  EXPECT_EQ(quiet.err, "");
}

// The checkpoint has no generation_config.json.
TEST_F(ChatProgram, SamplesAsThePublishedModelDoesWhereItsFileIsMissing) {
  const auto reply = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--message", "hello", "--max_new_tokens", "24"});
    return run_baichuan(chat(more)).out;
  };
  const std::string unset = reply({});
  EXPECT_EQ(reply({"--do_sample", "true", "--temperature", "0.3", "--top_k", "5", "--top_p", "0.85",
                   "--repetition_penalty", "1.1"}),
            unset);
  EXPECT_EQ(reply({"--do_sample", "false"}), reply({"--do_sample", "false", "--seed", "7"}));
}

TEST_F(ChatProgram, SamplesTheSameReplyUnderTheSameSeed) {
  const auto reply = [&](const char* seed) {
    return run_baichuan(chat({"--message", "hello", "--max_new_tokens", "16", "--do_sample", "--temperature", "1.2",
                              "--top_p", "0.95", "--seed", seed}))
        .out;
  };
  const std::string first = reply("1");
  EXPECT_EQ(reply("1"), first);
  EXPECT_NE(reply("2"), first);
}

TEST_F(ChatProgram, AnswersEachLineOfAPipeAndStreamsWhatItWouldShowAtOnce) {
  const auto options = chat({"--max_new_tokens", "6", "--log_level", "warning"});
  const auto streamed = run_baichuan(options, {.input = "one\n\n  \ntwo\n"});
  const auto at_once = run_baichuan(options, {.input = "stream\r\none\r\ntwo"});
  EXPECT_EQ(streamed.status, 0) << streamed.err;
  EXPECT_EQ(streamed.out, at_once.out);
  EXPECT_EQ(streamed.out.find("User"), std::string::npos);
  EXPECT_EQ(streamed.err.find("User"), std::string::npos);
}

TEST_F(ChatProgram, RemembersUntilItIsCleared) {
  const auto options = chat({"--max_new_tokens", "6", "--do_sample", "false", "--log_level", "warning"});
  const auto once = run_baichuan(options, {.input = "one\nexit\nnever seen\n"}).out;
  EXPECT_FALSE(once.empty());
  const auto cleared = run_baichuan(options, {.input = "one\nclear\none\n"}).out;
  EXPECT_EQ(cleared, once + once);
  const auto remembered = run_baichuan(options, {.input = "one\none\n"}).out;
  EXPECT_TRUE(remembered.starts_with(once));
  EXPECT_NE(remembered, once + once);
}

TEST_F(ChatProgram, SaysThatOldRoundsLeaveTheWindow) {
  std::string input;
  for (int i = 0; i < 10; ++i) input += "a message of some length, number " + std::to_string(i) + "\n";
  const auto result = run_baichuan(chat({"--max_new_tokens", "8", "--log_level", "warning"}),
                                   {.input = input, .environment = {{"LC_ALL", "C"}}});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("the oldest rounds are no longer seen"), std::string::npos) << result.err;
}

TEST_F(ChatProgram, TakesASystemTextAndEveryTemplate) {
  const auto plain = run_baichuan(chat({"--message", "hello", "--max_new_tokens", "8"})).out;
  EXPECT_NE(run_baichuan(chat({"--message", "hello", "--max_new_tokens", "8", "--system", "Be brief."})).out, plain);
  EXPECT_EQ(run_baichuan(chat({"--message", "hello", "--max_new_tokens", "8", "--template", "baichuan"})).out, plain);
  for (const char* name : {"default", "vanilla"}) {
    const auto result = run_baichuan(chat({"--message", "hello", "--max_new_tokens", "8", "--template", name}));
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_NE(result.out, plain) << name;
  }
}

TEST_F(ChatProgram, NamesWhatIsWrong) {
  const auto message_for = [&](std::vector<std::string> more, RunSetup setup = {}) {
    more.insert(more.end(), {"--log_level", "error"});
    const auto result = run_baichuan(chat(std::move(more)), setup);
    return std::to_string(result.status) + " " + result.err;
  };
  EXPECT_EQ(message_for({"--message", ""}),
            "2 error: --message must not be empty; leave the flag away for a conversation in the terminal\n");
  EXPECT_EQ(message_for({"--message", "\xFF"}),
            "2 error: --message must be valid UTF-8; found another byte at 1; check the terminal's encoding\n");
  EXPECT_EQ(message_for({"--message", "hi", "--num_beams", "2"}),
            "2 error: --num_beams must be 1: beam search is not built; found 2\n");
  EXPECT_EQ(message_for({}, {.input = "\xFF\n"}),
            "1 error: standard input must be valid UTF-8; found '\xEF\xBF\xBD'; convert it\n");
  EXPECT_EQ(message_for({"--message", "hi"}, {.out_to = "/dev/full"}),
            "1 error: standard output must take the result; found: No space left on device; check where it leads\n");
  EXPECT_EQ(
      message_for({"--message", std::string(2000, 'x'), "--template", "vanilla", "--max_new_tokens", "8"}).substr(0, 2),
      "1 ");
  const auto none = run_baichuan({"chat", "--message", "hi"});
  EXPECT_EQ(none.status, 2);
  EXPECT_EQ(none.err, "error: chat needs --model_name_or_path; found none; give a model directory or a hub id\n");
}

TEST_F(ChatProgram, CtrlCStopsTheReplyAndCtrlDLeaves) {
  BAICHUAN_NEEDS_PSEUDO_TERMINAL();
  TerminalProgram program(chat({"--max_new_tokens", "1000000", "--do_sample", "false", "--log_level", "error"}),
                          {{"LC_ALL", "C"}, {"TERM", "xterm"}});
  EXPECT_NE(program.read_until("User: ").find("\x1b[32m"), std::string::npos);
  program.type("hello\n");
  program.read_until("Baichuan: ");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  program.type("\x03");
  EXPECT_TRUE(program.read_until("(stopped)").ends_with("(stopped)"));
  program.read_until("User: ");
  program.type("clear\n");
  EXPECT_TRUE(program.read_until("(the conversation is forgotten)").ends_with(")"));
  program.read_until("User: ");
  program.type("\x04");
  EXPECT_EQ(program.wait(), 0);
}

TEST_F(ChatProgram, CtrlCTwiceAtThePromptLeavesWith130) {
  BAICHUAN_NEEDS_PSEUDO_TERMINAL();
  TerminalProgram program(chat({}), {{"LC_ALL", "zh_CN.UTF-8"}, {"TERM", "dumb"}});
  EXPECT_EQ(program.read_until("用户：").find('\x1b'), std::string::npos);
  program.type("half a line\x03");
  EXPECT_TRUE(program.read_until("退出）").ends_with("退出）"));
  program.read_until("用户：");
  program.type("\x03");
  EXPECT_EQ(program.wait(), 130);
}

TEST_F(ChatProgram, ASignalEndsAMessageWith130And143) {
  BAICHUAN_NEEDS_PSEUDO_TERMINAL();
  for (const int signal : {SIGINT, SIGTERM}) {
    TerminalProgram program(
        chat({"--message", "hello", "--max_new_tokens", "1000000", "--do_sample", "false", "--log_level", "error"}));
    program.read_until("a", 20);  // the reply has begun
    program.send_signal(signal);
    EXPECT_EQ(program.wait(), 128 + signal);
  }
}

}  // namespace

}  // namespace baichuan
