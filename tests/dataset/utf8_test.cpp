#include "data/utf8.h"

#include <gtest/gtest.h>

namespace baichuan {
namespace {

TEST(FindInvalidUtf8, FindsTheByte) {
  EXPECT_EQ(find_invalid_utf8("\xE4\xBD\xA0 ok"), std::string_view::npos);
  EXPECT_EQ(find_invalid_utf8("ab\xFFz"), 2u);
  EXPECT_EQ(find_invalid_utf8("ab\xE4\xBD"), 2u);
  EXPECT_EQ(find_invalid_utf8("\xED\xA0\x80"), 0u) << "a surrogate";
  EXPECT_EQ(find_invalid_utf8("\xC0\xAF"), 0u) << "an overlong form";
}

}  // namespace
}  // namespace baichuan
