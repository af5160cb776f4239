// Files that are complete or absent, and read-only views of files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace baichuan {

namespace fs = std::filesystem;

// A file under a temporary name beside `path` that takes its place only in commit(): written, synced, renamed,
// directory synced. Without commit() the destructor removes it. Throws MachineError (disk full, no permission)
// naming path and cause.
class AtomicFile {
 public:
  explicit AtomicFile(fs::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  // Writes at an absolute offset; for writers that fill a file out of order.
  void write_at(std::uint64_t offset, const void* data, std::size_t bytes);
  // Takes the disk space now, so that a full disk is noticed before the work; no effect where it is not supported.
  void reserve(std::uint64_t bytes);
  // Writes what the system still holds back; commit() does it as well.
  void sync();
  std::uint64_t position() const { return position_; }
  void commit();

 private:
  fs::path path_;
  fs::path temporary_;
  int fd_ = -1;
  std::uint64_t position_ = 0;
};

void write_file_atomically(const fs::path& path, std::string_view contents);

// Throws DataError when the file is missing or unreadable.
std::string read_file(const fs::path& path);

// A memory-mapped read-only file; the bytes live as long as the object.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

void sync_directory(const fs::path& directory);
// Removes a directory tree, never throws; used for temporaries.
void remove_quietly(const fs::path& path) noexcept;
// Bytes that an unprivileged user may still write on the file system of `path` (its nearest existing parent).
std::uint64_t free_disk_bytes(const fs::path& path);

}  // namespace baichuan
