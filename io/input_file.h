// A read-only file that several threads read at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace baichuan {

namespace fs = std::filesystem;

class InputFile {
 public:
  // Throws CheckpointError when the file is missing, not a regular file, or a Git LFS pointer.
  explicit InputFile(fs::path path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const fs::path& path() const { return path_; }
  std::string name() const { return path_.string(); }
  std::uint64_t size() const { return size_; }
  int descriptor() const { return fd_; }

  // Throws CheckpointError when the range is not in the file or the disk fails.
  void read_at(std::uint64_t offset, void* to, std::size_t bytes) const;
  std::string read_text(std::uint64_t offset, std::size_t bytes) const;

 private:
  fs::path path_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace baichuan
