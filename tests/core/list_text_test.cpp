#include "core/list_text.h"

#include <gtest/gtest.h>

namespace baichuan {
namespace {

using Parts = std::vector<std::string_view>;

TEST(Trimmed, DropsBlanksAtBothEndsAlone) {
  EXPECT_EQ(trimmed(" \ta b\r\n"), "a b");
  EXPECT_EQ(trimmed(" \n"), "");
  EXPECT_EQ(trimmed(""), "");
}

TEST(Split, KeepsEmptyParts) {
  EXPECT_EQ(split("a,b", ','), (Parts{"a", "b"}));
  EXPECT_EQ(split(",a,", ','), (Parts{"", "a", ""}));
  EXPECT_EQ(split("", ','), (Parts{""}));
  EXPECT_EQ(split("a|b", ','), (Parts{"a|b"}));
}

}  // namespace
}  // namespace baichuan
