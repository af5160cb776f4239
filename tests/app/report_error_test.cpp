#include "app/report_error.h"

#include <cstdlib>
#include <ctime>

#include <gtest/gtest.h>

#include "app/error_file.h"
#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "tests/scratch_directory.h"

namespace baichuan {
namespace {

class ReportError : public testing::Test {
 protected:
  void SetUp() override { ::setenv(kErrorFileVariable, file_.c_str(), 1); }
  void TearDown() override {
    ::unsetenv(kErrorFileVariable);
    ::unsetenv("BAICHUAN_RUN_ID");
  }

  std::string printed_for(const Error& error) {
    testing::internal::CaptureStderr();
    report_error(error);
    return testing::internal::GetCapturedStderr();
  }

  ScratchDirectory scratch_;
  fs::path file_ = scratch_ / "error.json";
};

TEST_F(ReportError, PrintsOneLineAndTellsWrongUsageFromOtherErrors) {
  ::unsetenv(kErrorFileVariable);
  testing::internal::CaptureStderr();
  EXPECT_EQ(report_error(UsageError("two\nlines")), 2);
  EXPECT_EQ(report_error(MachineError("no disk")), 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "error: two lines\nerror: no disk\n");
}

TEST_F(ReportError, PrintsTheTraceAsItIsBelowTheLine) {
  ::unsetenv(kErrorFileVariable);
  testing::internal::CaptureStderr();
  report_error(std::runtime_error("it broke"), "it broke\nframe #0: f()\nframe #1: g()");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "error: it broke\nit broke\nframe #0: f()\nframe #1: g()\n");
}

TEST_F(ReportError, WritesWhatTorchelasticReads) {
  const std::time_t before = std::time(nullptr);
  EXPECT_EQ(printed_for(DataError("row 3 of \"a.json\" is\nempty")), "error: row 3 of \"a.json\" is empty\n");
  const Json json = Json::parse(read_file(file_));
  ASSERT_EQ(json.size(), 1U);
  ASSERT_EQ(json["message"].size(), 2U);
  EXPECT_EQ(json["message"]["message"], "row 3 of \"a.json\" is empty");
  EXPECT_TRUE(json["message"]["extraInfo"]["py_callstack"].is_string());
  const std::int64_t timestamp = std::stoll(json["message"]["extraInfo"]["timestamp"].get<std::string>());
  EXPECT_GE(timestamp, before);
  EXPECT_LE(timestamp, std::time(nullptr));
  EXPECT_EQ(read_error_file(file_), "row 3 of \"a.json\" is empty");
}

TEST_F(ReportError, LeavesThePrintingToOurOwnLauncher) {
  ::setenv("BAICHUAN_RUN_ID", "6f0d", 1);
  EXPECT_EQ(printed_for(DataError("no rows")), "");
  EXPECT_EQ(read_error_file(file_), "no rows");
}

TEST_F(ReportError, PrintsWhereTheFileCannotBeWritten) {
  ::setenv("BAICHUAN_RUN_ID", "6f0d", 1);
  ::setenv(kErrorFileVariable, (scratch_ / "missing" / "error.json").c_str(), 1);
  EXPECT_EQ(printed_for(DataError("no rows")), "error: no rows\n");
}

TEST_F(ReportError, WritesMessagesThatAreNotUtf8) {
  EXPECT_EQ(printed_for(DataError("found '\xff'")), "error: found '\xff'\n");
  EXPECT_EQ(read_error_file(file_), "found '\xef\xbf\xbd'");
}

TEST_F(ReportError, ReadsNothingFromOtherFiles) {
  EXPECT_FALSE(read_error_file(scratch_ / "none").has_value());
  for (const char* text :
       {"", "{\"message\": {\"mess", "[]", "{\"message\": \"text\"}", "{\"message\": {\"message\": 1}}"}) {
    write_file_atomically(file_, text);
    EXPECT_FALSE(read_error_file(file_).has_value()) << text;
  }
}

}  // namespace
}  // namespace baichuan
