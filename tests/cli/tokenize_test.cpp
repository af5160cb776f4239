#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/files.h"
#include "core/json.h"
#include "data/tokenizer.h"
#include "tests/cli/program.h"
#include "tests/cli/tiny_checkpoint.h"
#include "tests/scratch_directory.h"

namespace baichuan {

namespace {

using Ids = std::vector<std::int32_t>;

const std::string kVocabulary = BAICHUAN_SOURCE_DIR "/configs/quickstart/tokenizer.model";

std::vector<Json> rows_of(const std::string& text) {
  std::vector<Json> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) rows.push_back(Json::parse(line));
  return rows;
}

RunResult tokenize(std::vector<std::string> more, const RunSetup& setup = {}) {
  more.insert(more.begin(), {"tokenize", "--model_name_or_path", kVocabulary});
  return run_baichuan(more, setup);
}

Json single_row(std::vector<std::string> more) {
  const auto result = tokenize(std::move(more));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const auto rows = rows_of(result.out);
  EXPECT_EQ(rows.size(), 1);
  return rows.empty() ? Json() : rows.front();
}

TEST(TokenizeProgram, TakesATextForOneRowWhateverItContains) {
  const Tokenizer tokenizer(kVocabulary);
  for (const std::string text :
       {"hello", "two\nlines\n", "tab\tand \"quotes\" \\", "\xE4\xBD\xA0\xE5\xA5\xBD", "--file", ""}) {
    const Json row = single_row({"--text=" + text});
    EXPECT_EQ(row.at("ids"), Json(tokenizer.encode(text))) << text;
    EXPECT_EQ(row.at("pieces").size(), row.at("ids").size());
  }
}

TEST(TokenizeProgram, TakesALineOfAFileForARow) {
  const Tokenizer tokenizer(kVocabulary);
  const ScratchDirectory scratch;
  write_file_atomically(scratch / "rows.txt", "one\r\n\ntwo three");
  const auto result = tokenize({"--file", scratch / "rows.txt"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto rows = rows_of(result.out);
  ASSERT_EQ(rows.size(), 3);
  EXPECT_EQ(rows[0].at("ids"), Json(tokenizer.encode("one")));
  EXPECT_EQ(rows[1].at("ids"), Json::array());
  EXPECT_EQ(rows[2].at("ids"), Json(tokenizer.encode("two three")));
  EXPECT_EQ(tokenize({"--file", "-"}, {.input = "one\r\n\ntwo three"}).out, result.out);
}

TEST(TokenizeProgram, DecodesWhatItEncoded) {
  const Json row = single_row({"--text", "hello\n\xE4\xBD\xA0\xE5\xA5\xBD 42"});
  std::string ids;
  for (const Json& id : row.at("ids")) ids += id.dump() + " ";
  EXPECT_EQ(single_row({"--decode", ids}), (Json{{"text", "hello\n\xE4\xBD\xA0\xE5\xA5\xBD 42"}}));
  EXPECT_EQ(single_row({"--decode", row.at("ids").dump()}), single_row({"--decode", ids}));
}

TEST(TokenizeProgram, GivesThePromptOfAChat) {
  const Tokenizer tokenizer(kVocabulary);
  const auto joined = [](std::initializer_list<Ids> parts) {
    Ids all;
    for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
    return Json(all);
  };
  const Ids hello = tokenizer.encode_plain("hello");
  const Ids reply = tokenizer.encode_plain("good day");
  EXPECT_EQ(single_row({"--template", "baichuan", "--text", "hello"}).at("ids"), joined({{195}, hello, {196}}));
  EXPECT_EQ(single_row({"--prompt_template", "baichuan", "--text", "hello"}).at("ids"), joined({{195}, hello, {196}}));
  const ScratchDirectory scratch;
  write_file_atomically(
      scratch / "chats.jsonl",
      R"({"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"},
 {"role": "user", "content": "hello"}]})");
  // A row is a line.
  std::string chat = read_file(scratch / "chats.jsonl");
  chat.erase(chat.find('\n'), 1);
  write_file_atomically(scratch / "chats.jsonl", chat);
  EXPECT_EQ(single_row({"--template", "baichuan", "--file", scratch / "chats.jsonl"}).at("ids"),
            joined({{195}, hello, {196}, reply, {195}, hello, {196}}));
  EXPECT_NE(single_row({"--template", "default", "--text", "hello"}),
            single_row({"--template", "vanilla", "--text", "hello"}));
}

// `chat` keeps half of a small window for the reply; the prompt shown here is the one that it would make.
TEST(TokenizeProgram, CutsAPromptAsChatDoes) {
  const ScratchDirectory scratch;
  write_tiny_checkpoint(scratch / "model", /*window=*/160);
  const auto length = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"tokenize", "--model_name_or_path", scratch / "model", "--template", "baichuan",
                               "--text", std::string(400, '7')});
    const auto result = run_baichuan(more);
    EXPECT_EQ(result.status, 0) << result.err;
    return Json::parse(result.out).at("ids").size();
  };
  EXPECT_EQ(length({}), 80);
  EXPECT_EQ(length({"--max_new_tokens", "100"}), 60);
}

TEST(TokenizeProgram, NamesWhatIsWrong) {
  const auto message_for = [](std::vector<std::string> more) {
    const auto result = tokenize(std::move(more));
    EXPECT_EQ(result.out, "");
    return std::to_string(result.status) + " " + result.err;
  };
  const ScratchDirectory scratch;
  const std::string file = scratch / "rows";
  const auto about = [&](const std::string& text) {
    write_file_atomically(file, text);
    return message_for({"--template", "baichuan", "--file", file});
  };
  const auto size = std::to_string(Tokenizer(kVocabulary).vocab_size() - 1);
  EXPECT_EQ(message_for({}), "2 error: tokenize needs one of --text, --file and --decode; found 0; give exactly one\n");
  EXPECT_EQ(message_for({"--text", "a", "--decode", "1"}),
            "2 error: tokenize needs one of --text, --file and --decode; found 2; give exactly one\n");
  EXPECT_EQ(message_for({"--decode", "1", "--template", "default"}),
            "2 error: --template goes with --text or --file; found it with --decode; leave one out\n");
  EXPECT_EQ(message_for({"--decode", "1 two"}), "2 error: --decode must be ids from 0 to " + size + "; found 'two'\n");
  EXPECT_EQ(message_for({"--decode", "-1"}), "2 error: --decode must be ids from 0 to " + size + "; found '-1'\n");
  EXPECT_EQ(message_for({"--decode", "99999999999"}),
            "2 error: --decode must be ids from 0 to " + size + "; found '99999999999'\n");
  EXPECT_EQ(message_for({"--text", "a\xFF"}),
            "1 error: --text: expected UTF-8; found 0xFF as byte 1; convert the text\n");
  EXPECT_EQ(message_for({"--file", "/nowhere"}),
            "1 error: --file must be a readable file; found none at /nowhere; check the path\n");
  EXPECT_EQ(about("{\"messages\": []}\n"),
            "1 error: " + file + " line 1: expected at least one message; found an empty list; add a user message\n");
  EXPECT_EQ(
      about("{\"text\": \"a\"}\n"),
      "1 error: " + file +
          " line 1: expected {\"messages\": [{\"role\": ..., \"content\": ...}, ...]}; found no list 'messages'\n");
  EXPECT_EQ(
      about("{\"messages\": [{\"role\": \"user\"}]}\n"),
      "1 error: " + file +
          " line 1: expected {\"messages\": [{\"role\": ..., \"content\": ...}, ...]}; found no text 'content' in "
          "message 0\n");
  EXPECT_EQ(run_baichuan({"tokenize", "--text", "a"}).err,
            "error: tokenize needs --model_name_or_path; found none; give a model directory, a hub id or a "
            "tokenizer.model\n");
  EXPECT_EQ(tokenize({"--text", "a"}, {.out_to = "/dev/full"}).err,
            "error: cannot write to standard output; is the disk full?\n");
}

}  // namespace

}  // namespace baichuan
