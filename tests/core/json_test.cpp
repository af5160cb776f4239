#include "core/json.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files.h"

namespace baichuan {
namespace {

std::string parse_failure(std::string_view text) {
  try {
    parse_json(text, "file.json");
  } catch (const DataError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Json, AMistakeIsNamedWithItsLine) {
  EXPECT_EQ(parse_failure("{\n\"a\": 1,\n\"b\": x\n}"),
            "file.json line 3: expected valid JSON; byte 15 cannot stand there");
}

TEST(Json, ATruncatedFileIsSaidToEndTooEarly) {
  EXPECT_EQ(parse_failure("{\"a\": [1, 2"),
            "file.json line 1: expected valid JSON; the file ends too early (an incomplete download?)");
  EXPECT_NE(parse_failure("").find("ends too early"), std::string::npos);
}

TEST(Json, ALineKeepsItsKeysInOrderAndReplacesBrokenUtf8) {
  OrderedJson row;
  row["z"] = 1;
  row["a"] = "\xff";
  EXPECT_EQ(to_json_line(row), "{\"z\":1,\"a\":\"\xef\xbf\xbd\"}");
}

TEST(Json, AFileIsReadBackAsItWasWritten) {
  const auto path = std::filesystem::path(testing::TempDir()) / "json_test.json";
  write_json_file(path, Json{{"text", "百川"}, {"n", 0.1}});
  EXPECT_EQ(read_json_file(path), (Json{{"text", "百川"}, {"n", 0.1}}));
  EXPECT_NE(read_file(path).find("百川"), std::string::npos) << "UTF-8 stays readable";
  remove_quietly(path);
}

}  // namespace
}  // namespace baichuan
