#include "train/run_state.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/scratch_directory.h"
#include "train/data_order.h"

namespace baichuan {
namespace {

std::string message_of(const auto& action) {
  try {
    action();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

TEST(RunState, NamesAStateThatItCannotGoOnFrom) {
  const ScratchDirectory scratch;
  const std::string file = scratch / "run_state.json";
  const auto about = [&](const Json& state) {
    write_json_file(file, state);
    return message_of([&] { (void)load_run_state(scratch.path()); });
  };
  const std::string other = file + ": expected version 1 of the run state; start a new run from these weights instead";
  EXPECT_EQ(about({{"version", 2}}), other);
  EXPECT_EQ(about({{"step", 3}}), other);
  EXPECT_EQ(about(Json::array()), other);
  const std::string incomplete = about({{"version", 1}, {"step", 3}});
  EXPECT_TRUE(incomplete.starts_with(file + ": expected a complete run state; ")) << incomplete;
  EXPECT_TRUE(incomplete.ends_with("; use an older checkpoint")) << incomplete;
}

TEST(DataOrder, RefusesTheStateOfAnotherVersion) {
  DataOrder order(DataOrderMode::kTorch2023, 50, 42);
  auto state = order.state();
  const auto expected = std::to_string(state.size());
  state.pop_back();
  EXPECT_EQ(message_of([&] { order.restore(state); }), "expected " + expected + " bytes of data-order state; found " +
                                                           std::to_string(state.size()) +
                                                           "; the checkpoint is of another version");
}

}  // namespace
}  // namespace baichuan
