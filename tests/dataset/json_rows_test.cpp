#include "data/json_rows.h"

#include "dataset_test_support.h"

namespace baichuan {
namespace {

std::vector<std::string> rows_of(std::string_view text) {
  JsonRows rows(text, "file.json");
  std::vector<std::string> found;
  while (const auto row = rows.next()) {
    EXPECT_EQ(row->index, std::ssize(found));
    found.emplace_back(row->text);
  }
  return found;
}

std::string refuse(std::string_view text) {
  return message_of<DataError>([&] { (void)rows_of(text); });
}

using Rows = std::vector<std::string>;

TEST(JsonRows, FindsTheElementsOfAnArray) {
  EXPECT_EQ(rows_of(R"( [ {"a": "]},{\"[" } ,{"b":[1,{"c":2}]},3, "x" ] )"),
            (Rows{R"({"a": "]},{\"[" })", R"({"b":[1,{"c":2}]})", "3", R"("x")"}));
  EXPECT_EQ(rows_of("[]"), Rows{});
  EXPECT_EQ(rows_of("\xef\xbb\xbf[{}]"), Rows{"{}"});
}

TEST(JsonRows, FindsOneObjectALine) {
  EXPECT_EQ(rows_of("{\"a\":1}\r\n\n  {\"b\":2}  \n{\"c\":3}"), (Rows{"{\"a\":1}", "{\"b\":2}", "{\"c\":3}"}));
}

TEST(JsonRows, KnowsTheLineOfARow) {
  const std::string text = "[\n{\"a\":\n1},\n{}]";
  JsonRows rows(text, "file.json");
  EXPECT_EQ(rows.line_of(rows.next()->text.data()), 2);
  EXPECT_EQ(rows.line_of(rows.next()->text.data()), 4);
}

TEST(JsonRows, NamesTheLineWhereAnArrayIsDamaged) {
  EXPECT_CONTAINS(refuse("[{\"a\":1},\n{\"b\":"),
                  "file.json line 2: expected valid JSON in row 1; found the end of the file before the row's");
  EXPECT_CONTAINS(refuse("[{\"a\":1},\n{\"b\":\"x"),
                  "line 2: expected valid JSON in row 1; found the end of the file inside");
  EXPECT_CONTAINS(refuse("[{\"a\":1}"), "found the end of the file before the array's (an incomplete download?)");
  EXPECT_CONTAINS(refuse("[{\"a\":1},"), "found the end of the file before the array's");
  EXPECT_CONTAINS(refuse("["), "found the end of the file before the array's");
  EXPECT_CONTAINS(refuse("[{},]"), "found a comma with no row after it");
  EXPECT_CONTAINS(refuse("[,{}]"), "found a comma with no row before it");
  EXPECT_CONTAINS(refuse("[{} {}]"), "found byte 0x7B where a comma or the end of the array belongs");
  EXPECT_CONTAINS(refuse("[{}]\nx"), "line 2: expected valid JSON in row 1; found text after the end of the array");
  EXPECT_CONTAINS(refuse("[{\"a\":\"b},\n{\"c\":\"d\"}]"),
                  "line 1: expected valid JSON in row 0; found a string that is not closed");
}

TEST(JsonRows, NamesAFileOfAnotherKind) {
  EXPECT_CONTAINS(refuse(""), "file.json: expected a JSON array or JSON lines; found an empty file");
  EXPECT_CONTAINS(refuse(" \n "), "found an empty file");
  EXPECT_CONTAINS(refuse("\ninstruction,output"),
                  "file.json line 2: expected a JSON array ('[') or JSON lines ('{'); found byte 0x69");
}

}  // namespace
}  // namespace baichuan
