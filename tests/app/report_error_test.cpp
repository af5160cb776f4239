#include "app/report_error.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace baichuan {
namespace {

std::string printed(const std::exception& error, std::string_view trace, int status) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(report_error(error, trace), status);
  return testing::internal::GetCapturedStderr();
}

TEST(ReportError, PrintsOneLineAndGivesTheStatusOfTheKind) {
  EXPECT_EQ(printed(UsageError("--x must be a number"), "", 2), "error: --x must be a number\n");
  EXPECT_EQ(printed(MachineError("the disk\nis full"), "", 1), "error: the disk is full\n");
}

TEST(ReportError, PrintsTheTraceAsItIsBelowTheLine) {
  EXPECT_EQ(printed(std::runtime_error("it broke"), "it broke\nframe #0: f()\nframe #1: g()", 1),
            "error: it broke\nit broke\nframe #0: f()\nframe #1: g()\n");
}

}  // namespace
}  // namespace baichuan
