#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>

#include "core/files.h"
#include "core/json.h"
#include "tests/cli/program.h"
#include "tests/cli/tiny_checkpoint.h"
#include "tests/scratch_directory.h"

namespace baichuan {

namespace {

class ScoreProgram : public testing::Test {
 protected:
  void SetUp() override { write_tiny_checkpoint(scratch_ / "model", /*window=*/96); }

  RunResult score(const std::string& rows, const std::string& output) {
    write_file_atomically(scratch_ / "in.jsonl", rows);
    return run_baichuan({"score", "--model_name_or_path", (scratch_ / "model").string(), "--input",
                         (scratch_ / "in.jsonl").string(), "--output", output});
  }

  ScratchDirectory scratch_;
};

TEST_F(ScoreProgram, WritesARowForEachRow) {
  const std::string output = scratch_ / "out.jsonl";
  const auto result = score("{\"text\": \"hello world\"}\n{\"ids\": [5, 6, 7]}\n", output);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "");
  const std::string written = read_file(output);
  const auto newline = written.find('\n');
  const Json first = Json::parse(written.substr(0, newline));
  const Json second = Json::parse(written.substr(newline + 1));
  EXPECT_EQ(first["ids"].size(), first["logprobs"].size());
  EXPECT_TRUE(first["logprobs"][0].is_null());
  EXPECT_EQ(second["ids"], Json({5, 6, 7}));
  const double sum = second["logprobs"][1].get<double>() + second["logprobs"][2].get<double>();
  EXPECT_NEAR(second["nll"].get<double>(), -sum / 2, 1e-6);
  EXPECT_NEAR(std::log(second["perplexity"].get<double>()), second["nll"].get<double>(), 1e-9);

  const auto piped = run_baichuan({"score", "--model_name_or_path", (scratch_ / "model").string(), "--input", "-"},
                                  {.input = read_file(scratch_ / "in.jsonl")});
  EXPECT_EQ(piped.out, written);
}

TEST_F(ScoreProgram, NeedsNoTokenizerForIds) {
  std::filesystem::remove(scratch_ / "model/tokenizer.model");
  EXPECT_EQ(score("{\"ids\": [5, 6, 7]}", "-").status, 0);
  EXPECT_EQ(score("{\"text\": \"hello\"}", "-").status, 1);
}

TEST_F(ScoreProgram, AnErrorLeavesWhatWasThere) {
  const std::string output = scratch_ / "out.jsonl";
  write_file_atomically(output, "precious\n");
  const auto result = score("{\"ids\": [5]}\n{\"ids\": [5, 1000000]}\n", output);
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("in.jsonl line 2: ids must be from 0 to"), std::string::npos) << result.err;
  EXPECT_EQ(read_file(output), "precious\n");
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(scratch_.path())) files += entry.is_regular_file();
  EXPECT_EQ(files, 2) << "a temporary file was left";
}

TEST_F(ScoreProgram, NamesPathsThatCannotBeUsed) {
  const std::string model = scratch_ / "model";
  const auto missing = run_baichuan({"score", "--model_name_or_path", model, "--input", "/nowhere.jsonl"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.err,
            "error: --input must be a readable file of JSON lines; found none at /nowhere.jsonl; check the path\n");
  EXPECT_EQ(run_baichuan({"score", "--model_name_or_path", model}).err,
            "error: score needs --input; found none; give a file of JSON lines, or -\n");
  EXPECT_EQ(run_baichuan({"score", "--input", "-"}).status, 2);
  EXPECT_EQ(score("{\"ids\": [5]}", scratch_ / "no/such/folder").status, 1);
}

}  // namespace

}  // namespace baichuan
