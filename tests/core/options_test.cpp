#include "core/options.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace baichuan {
namespace {

struct Sample {
  std::int64_t steps = 3;
  double rate = 0.5;
  bool flag = false;
  std::string mode = "a";
  std::optional<double> limit;

  static void describe(auto&& field) {
    using O = Sample;
    field(&O::steps,
          {.name = "steps", .help = "Steps.", .unit = "steps", .range = {1, 10}, .aliases = "n_steps,iterations"});
    field(&O::rate, {.name = "rate", .help = "Rate."});
    field(&O::flag, {.name = "flag", .help = "Flag."});
    field(&O::mode, {.name = "mode", .help = "Mode.", .choices = "a|b"});
    field(&O::limit, {.name = "limit", .help = "Limit."});
  }
};

class OptionsTest : public testing::Test {
 protected:
  OptionsTest() { table_.add("Sample", sample_); }
  std::string failure(const std::string& name, const std::string& text) {
    try {
      table_.find(name)->set(text);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "nothing was thrown";
  }
  Sample sample_;
  OptionTable table_;
};

TEST_F(OptionsTest, ValuesReachTheStructUnderNameAndAlias) {
  table_.find("steps")->set("7");
  EXPECT_EQ(sample_.steps, 7);
  table_.find("n-steps")->set("8");
  EXPECT_EQ(sample_.steps, 8);
  table_.find("limit")->set("1e-3");
  EXPECT_EQ(sample_.limit, 1e-3);
  table_.find("flag")->set("Yes");
  EXPECT_TRUE(sample_.flag);
  EXPECT_EQ(table_.find("nothing"), nullptr);
}

TEST_F(OptionsTest, WrongValuesAreNamed) {
  EXPECT_EQ(failure("steps", "x"), "--steps must be a whole number; found 'x'");
  EXPECT_EQ(failure("steps", "3.5"), "--steps must be a whole number; found '3.5'");
  EXPECT_EQ(failure("steps", "11"), "--steps must be from 1 to 10 steps; found 11");
  EXPECT_EQ(failure("rate", "fast"), "--rate must be a number; found 'fast'");
  EXPECT_EQ(failure("flag", "maybe"), "--flag must be true or false; found 'maybe'");
  EXPECT_EQ(failure("mode", "c"), "--mode must be one of a, b; found 'c'");
  EXPECT_NE(failure("rate", "nan").find("must be from"), std::string::npos);
}

TEST_F(OptionsTest, TheTableIsWrittenInTheOrderOfItsDeclaration) {
  EXPECT_EQ(table_.to_json().dump(), R"({"steps":3,"rate":0.5,"flag":false,"mode":"a"})");
}

TEST_F(OptionsTest, TheSameNameTwiceIsOurMistake) {
  Sample other;
  EXPECT_THROW(table_.add("Again", other), std::logic_error);
}

TEST(AcceptedOptions, KeepTheirTextAndTheirKind) {
  OptionTable table;
  table.add_accepted("Old", {.name = "workers", .help = "Workers.", .support = Support::kNoEffect},
                     OptionKind::kInteger, 0);
  table.find("workers")->set("4");
  EXPECT_EQ(table.find("workers")->get(), Json(4));
  EXPECT_THROW(table.find("workers")->set("many"), UsageError);
}

}  // namespace
}  // namespace baichuan
