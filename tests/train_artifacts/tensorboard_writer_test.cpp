#include "train/tensorboard_writer.h"

#include <array>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "core/crc32c.h"
#include "core/error.h"
#include "core/files.h"
#include "tests/scratch_directory.h"

namespace baichuan {
namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

// The Event messages of a file; checks lengths and both checksums of every record.
std::vector<std::string> read_events(const fs::path& path) {
  const std::string bytes = read_file(path);
  std::vector<std::string> events;
  const auto masked = [](const char* data, std::size_t size) {
    const std::uint32_t crc = crc32c(data, size);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
  };
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint64_t length = 0;
    std::uint32_t length_crc = 0;
    std::uint32_t crc = 0;
    std::memcpy(&length, bytes.data() + at, 8);
    std::memcpy(&length_crc, bytes.data() + at + 8, 4);
    EXPECT_EQ(length_crc, masked(bytes.data() + at, 8));
    EXPECT_LE(at + 16 + length, bytes.size());
    std::memcpy(&crc, bytes.data() + at + 12 + length, 4);
    EXPECT_EQ(crc, masked(bytes.data() + at + 12, length));
    events.push_back(bytes.substr(at + 12, length));
    at += 16 + length;
  }
  return events;
}

// Bytes that TensorBoard's own writer produces.
TEST(TensorBoardRecord, EqualsTheKnownBytes) {
  EXPECT_EQ(hex(tensorboard::record(tensorboard::version_event(1700000000))),
            "1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d");
  const std::array<std::pair<std::string, double>, 1> loss{{{"train/loss", 2.5}}};
  EXPECT_EQ(hex(tensorboard::record(tensorboard::scalars_event(1700000001, 1, loss))),
            "200000000000000029eda9500900004040fc54d94110012a130a110a0a747261696e2f6c6f7373150000204035305392");
}

TEST(TensorBoardRecord, SessionStartCarriesItsStep) {
  // wall_time 0; step 300 = varint ac02; session_log { status: START }
  EXPECT_EQ(hex(tensorboard::session_start_event(0, 300)), "09000000000000000010ac023a020801");
}

TEST(TensorBoardWriter, EveryEventIsInTheFileWhenTheCallReturns) {
  ScratchDirectory scratch;
  TensorBoardWriter writer(scratch / "runs/a", {}, [] { return 1700000000.0; });
  EXPECT_TRUE(writer.path().filename().string().starts_with("events.out.tfevents.1700000000."));
  EXPECT_EQ(read_events(writer.path()).size(), 1u);
  writer.scalar(1, "train/loss", 2.5);
  EXPECT_EQ(read_events(writer.path()).size(), 2u);
  const std::array<std::pair<std::string, double>, 2> two{{{"a", 1}, {"b", 2}}};
  writer.scalars(2, two);
  writer.text(0, "options", "| a | 1 |");
  const auto events = read_events(writer.path());
  ASSERT_EQ(events.size(), 4u);
  EXPECT_NE(events[3].find("options/text_summary"), std::string::npos);
}

TEST(TensorBoardWriter, AResumedRunBeginsANewFileThatIsReadAfterTheOld) {
  ScratchDirectory scratch;
  const auto clock = [] { return 1700000000.0; };  // the same second, and a clock that was set back
  const auto earlier_clock = [] { return 1600000000.0; };
  TensorBoardWriter first(scratch.path(), {}, clock);
  TensorBoardWriter second(scratch.path(), 40, clock);
  TensorBoardWriter third(scratch.path(), 20, earlier_clock);
  EXPECT_LT(first.path(), second.path());
  EXPECT_LT(second.path(), third.path());
  const auto events = read_events(second.path());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1], tensorboard::session_start_event(1700000000, 41));
}

TEST(TensorBoardDirectory, IsTheNewestOneForAResumedRun) {
  ScratchDirectory scratch;
  const fs::path fresh = tensorboard_directory(scratch.path(), "", false);
  EXPECT_EQ(fresh.parent_path(), scratch / "runs");
  EXPECT_EQ(tensorboard_directory(scratch.path(), "elsewhere", true), "elsewhere");
  EXPECT_EQ(tensorboard_directory(scratch.path(), "", true).parent_path(), scratch / "runs");
  TensorBoardWriter older(scratch / "runs/zz_first", {}, [] { return 1700000000.0; });
  TensorBoardWriter newer(scratch / "runs/aa_second", {}, [] { return 1700000500.0; });
  EXPECT_EQ(tensorboard_directory(scratch.path(), "", true), scratch / "runs/aa_second");
}

TEST(TensorBoardWriter, AFolderThatCannotBeWrittenIsNamed) {
  ScratchDirectory scratch;
  write_file_atomically(scratch / "file", "x");
  try {
    TensorBoardWriter writer(scratch / "file");
    FAIL();
  } catch (const MachineError& error) {
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with("cannot create the TensorBoard file " + (scratch / "file/events").string()))
        << message;
    EXPECT_TRUE(message.ends_with("choose another --logging_dir, or --report_to none")) << message;
  }
}

}  // namespace
}  // namespace baichuan
