#include "io/input_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"

namespace baichuan {

InputFile::InputFile(fs::path path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) throw CheckpointError("cannot open {}: {}", name(), std::strerror(errno));
  struct stat status {};
  if (::fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd_);
    throw CheckpointError("expected a file of weights; {} is not a regular file", name());
  }
  size_ = static_cast<std::uint64_t>(status.st_size);

  constexpr std::string_view kPointer = "version https://git-lfs";
  try {
    const std::string start = read_text(0, std::min<std::uint64_t>(size_, kPointer.size()));
    if (start == kPointer)
      throw CheckpointError(
          "{}: expected weights; found a Git LFS pointer of {} bytes; fetch the weights with: git lfs pull", name(),
          size_);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

InputFile::~InputFile() {
  ::close(fd_);
}

void InputFile::read_at(std::uint64_t offset, void* to, std::size_t bytes) const {
  if (offset > size_ || bytes > size_ - offset)
    throw CheckpointError(
        "{}: expected {} bytes at offset {}; the file has {} bytes; incomplete download or corrupt file?", name(),
        bytes, offset, size_);
  auto* into = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::pread(fd_, into, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw CheckpointError("cannot read {} at offset {}: {}", name(), offset, std::strerror(errno));
    if (got == 0)
      throw CheckpointError("{}: the file became shorter than {} bytes while it was read; is something writing it?",
                            name(), size_);
    into += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
}

std::string InputFile::read_text(std::uint64_t offset, std::size_t bytes) const {
  if (offset > size_ || bytes > size_ - offset)
    throw CheckpointError(
        "{}: expected {} bytes at offset {}; the file has {} bytes; incomplete download or corrupt file?", name(),
        bytes, offset, size_);
  std::string text(bytes, '\0');
  read_at(offset, text.data(), bytes);
  return text;
}

}  // namespace baichuan
