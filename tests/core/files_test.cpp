#include "core/files.h"

#include <csignal>
#include <cstring>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"

namespace baichuan {
namespace {

class FilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "files_test_XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { remove_quietly(directory_); }
  fs::path directory_;
};

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST_F(FilesTest, AnAtomicFileAppearsOnlyWhenCommitted) {
  const auto path = directory_ / "result.txt";
  {
    AtomicFile file(path);
    file.write("half");
    EXPECT_FALSE(fs::exists(path));
  }
  EXPECT_TRUE(fs::is_empty(directory_)) << "an abandoned file leaves nothing";
  write_file_atomically(path, "whole");
  EXPECT_EQ(read_file(path), "whole");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1);
}

TEST_F(FilesTest, AnAtomicFileKeepsTheOldContentsUntilCommitted) {
  const auto path = directory_ / "result.txt";
  write_file_atomically(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
  }
  EXPECT_EQ(read_file(path), "old");
}

TEST_F(FilesTest, WritesAtOffsetsFillAFileOutOfOrder) {
  AtomicFile file(directory_ / "parts");
  file.write_at(4, "5678", 4);
  file.write_at(0, "1234", 4);
  file.commit();
  EXPECT_EQ(read_file(directory_ / "parts"), "12345678");
}

// A file size limit stands for a full disk: the write fails in the same place.
TEST_F(FilesTest, AFullDiskIsNamedAndTheOldFileStays) {
  const auto path = directory_ / "result.bin";
  write_file_atomically(path, "old");
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 16, 1 << 16};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string large(1 << 20, 'x');
    const auto message = message_of([&] { write_file_atomically(path, large); });
    ::_exit(message.starts_with("cannot write " + path.string()) ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1);
}

TEST_F(FilesTest, MessagesNameThePathAndTheCause) {
  const auto missing = directory_ / "missing";
  EXPECT_EQ(message_of([&] { read_file(missing); }), "cannot open " + missing.string() + ": No such file or directory");
  EXPECT_EQ(message_of([&] { MappedFile file(missing); }),
            "cannot open " + missing.string() + ": No such file or directory");
  EXPECT_EQ(message_of([&] { MappedFile file(directory_); }), directory_.string() + " is not a regular file");
  EXPECT_EQ(message_of([&] { read_file(directory_); }), "cannot read " + directory_.string() + ": Is a directory");
  const auto nowhere = missing / "file";
  EXPECT_EQ(message_of([&] { AtomicFile file(nowhere); }),
            "cannot create " + nowhere.string() + ": No such file or directory");
}

TEST_F(FilesTest, AMappedFileShowsTheBytesAndAnEmptyOneNone) {
  write_file_atomically(directory_ / "a", "abc");
  write_file_atomically(directory_ / "empty", "");
  MappedFile file(directory_ / "a");
  MappedFile moved = std::move(file);
  ASSERT_EQ(moved.bytes().size(), 3u);
  EXPECT_EQ(std::memcmp(moved.bytes().data(), "abc", 3), 0);
  EXPECT_EQ(MappedFile(directory_ / "empty").bytes().size(), 0u);
}

TEST_F(FilesTest, FreeDiskSpaceIsThatOfTheNearestExistingFolder) {
  EXPECT_GT(free_disk_bytes(directory_ / "not" / "there" / "yet"), 0u);
}

}  // namespace
}  // namespace baichuan
