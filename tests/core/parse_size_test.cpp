#include "core/parse_size.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace baichuan {
namespace {

TEST(ParseSize, ReadsUnitsOfTenAndOfTwo) {
  EXPECT_EQ(parse_size("2GB"), 2'000'000'000);
  EXPECT_EQ(parse_size("500MB"), 500'000'000);
  EXPECT_EQ(parse_size("1.5 GB"), 1'500'000'000);
  EXPECT_EQ(parse_size("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(parse_size("64kib"), 65'536);
  EXPECT_EQ(parse_size("7kB"), 7'000);
  EXPECT_EQ(parse_size("1TB"), 1'000'000'000'000);
  EXPECT_EQ(parse_size("1234"), 1234);
}

TEST(ParseSize, RefusesWhatIsNoSize) {
  for (const char* const text : {"", "GB", "2 gigabytes", "-1GB", "0", "2GB5", "1e30TB", "nan", "inf"}) {
    try {
      parse_size(text);
      FAIL() << text;
    } catch (const UsageError& error) {
      EXPECT_EQ(error.what(), fmt::format("expected a size such as 2GB, 500MB or 2GiB; found '{}'; give a number and a "
                                          "unit",
                                          text));
    }
  }
}

}  // namespace
}  // namespace baichuan
