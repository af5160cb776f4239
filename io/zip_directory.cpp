// Format: APPNOTE.TXT of PKWARE, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16 (ends).
#include "io/zip_directory.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

#include "core/error.h"

namespace baichuan {

namespace {

constexpr std::uint32_t kLocalHeader = 0x04034b50;
constexpr std::uint32_t kCentralEntry = 0x02014b50;
constexpr std::uint32_t kEnd = 0x06054b50;
constexpr std::uint32_t kEnd64 = 0x06064b50;
constexpr std::uint32_t kEnd64Locator = 0x07064b50;
constexpr std::uint64_t kLocalHeaderBytes = 30;
constexpr std::uint64_t kCentralEntryBytes = 46;
constexpr std::uint64_t kEndBytes = 22;
constexpr std::uint64_t kEnd64Bytes = 56;
constexpr std::uint64_t kEnd64LocatorBytes = 20;
constexpr std::uint64_t kMostDirectoryBytes = 256 << 20;
constexpr std::uint32_t kIn64 = 0xffffffff;  // "the value stands in the zip64 field"

[[noreturn]] void damaged(const InputFile& file, std::string_view what) {
  throw CheckpointError("{}: expected a zip file as torch.save writes it; {}; incomplete download or corrupt file?",
                        file.name(), what);
}

template <class T>
T little(std::string_view bytes, std::size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

struct Directory {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t entries = 0;
};

Directory read_end64(const InputFile& file, std::uint64_t end_offset) {
  if (end_offset < kEnd64LocatorBytes) damaged(file, "its zip64 end is missing");
  const std::string locator = file.read_text(end_offset - kEnd64LocatorBytes, kEnd64LocatorBytes);
  if (little<std::uint32_t>(locator, 0) != kEnd64Locator) damaged(file, "its zip64 end is missing");
  const auto at = little<std::uint64_t>(locator, 8);
  if (at > file.size() || file.size() - at < kEnd64Bytes) damaged(file, "its zip64 end lies outside of the file");
  const std::string end = file.read_text(at, kEnd64Bytes);
  if (little<std::uint32_t>(end, 0) != kEnd64) damaged(file, "its zip64 end is damaged");
  return {little<std::uint64_t>(end, 48), little<std::uint64_t>(end, 40), little<std::uint64_t>(end, 32)};
}

// The end record is the last thing in the file but for a comment of at most 65,535 bytes.
Directory find_directory(const InputFile& file) {
  const std::uint64_t tail_bytes = std::min<std::uint64_t>(file.size(), kEndBytes + 0xffff);
  const std::string tail = file.read_text(file.size() - tail_bytes, tail_bytes);
  for (std::uint64_t at = tail_bytes - std::min(tail_bytes, kEndBytes - 1); at-- > 0;) {
    if (little<std::uint32_t>(tail, at) != kEnd) continue;
    if (little<std::uint16_t>(tail, at + 20) != tail_bytes - at - kEndBytes) continue;
    const Directory found{little<std::uint32_t>(tail, at + 16), little<std::uint32_t>(tail, at + 12),
                          little<std::uint16_t>(tail, at + 10)};
    const bool wide = found.offset == kIn64 || found.bytes == kIn64 || found.entries == 0xffff;
    return wide ? read_end64(file, file.size() - tail_bytes + at) : found;
  }
  damaged(file, "its table of contents, which is the end of a zip file, is missing");
}

struct Entry {
  std::uint64_t packed = 0;
  std::uint64_t size = 0;
  std::uint64_t header = 0;
};

// Zip64 extra field: the wide values, in this order, of those fields alone that say kIn64.
void read_wide_values(const InputFile& file, std::string_view extra, Entry& entry) {
  while (extra.size() >= 4) {
    const auto kind = little<std::uint16_t>(extra, 0);
    const auto bytes = little<std::uint16_t>(extra, 2);
    if (extra.size() - 4 < bytes) break;
    std::string_view wide = extra.substr(4, bytes);
    extra.remove_prefix(4 + std::size_t{bytes});
    if (kind != 1) continue;
    for (std::uint64_t* const field : {&entry.size, &entry.packed, &entry.header}) {
      if (*field != kIn64) continue;
      if (wide.size() < 8) damaged(file, "a zip64 field is too short");
      *field = little<std::uint64_t>(wide, 0);
      wide.remove_prefix(8);
    }
    return;
  }
}

ZipRecord locate(const InputFile& file, std::string name, const Entry& entry) {
  if (entry.header > file.size() || file.size() - entry.header < kLocalHeaderBytes)
    damaged(file, fmt::format("record '{}' lies outside of the file", name));
  const std::string local = file.read_text(entry.header, kLocalHeaderBytes);
  if (little<std::uint32_t>(local, 0) != kLocalHeader)
    damaged(file, fmt::format("record '{}' has no header at byte {}", name, entry.header));
  const std::uint64_t offset =
      entry.header + kLocalHeaderBytes + little<std::uint16_t>(local, 26) + little<std::uint16_t>(local, 28);
  if (offset > file.size() || entry.size > file.size() - offset)
    damaged(file, fmt::format("record '{}' of {} bytes lies outside of the file", name, entry.size));
  return {std::move(name), offset, entry.size};
}

}  // namespace

std::vector<ZipRecord> read_zip_directory(const InputFile& file) {
  if (file.size() < kEndBytes) damaged(file, fmt::format("it has {} bytes", file.size()));
  const Directory directory = find_directory(file);
  if (directory.offset > file.size() || directory.bytes > file.size() - directory.offset ||
      directory.bytes > kMostDirectoryBytes)
    damaged(file, "its table of contents lies outside of the file");
  const std::string table = file.read_text(directory.offset, directory.bytes);
  std::string_view rest = table;
  std::vector<ZipRecord> records;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    if (rest.size() < kCentralEntryBytes || little<std::uint32_t>(rest, 0) != kCentralEntry)
      damaged(file, fmt::format("entry {} of its table of contents is damaged", i));
    const std::size_t name_bytes = little<std::uint16_t>(rest, 28);
    const std::size_t extra_bytes = little<std::uint16_t>(rest, 30);
    const std::size_t comment_bytes = little<std::uint16_t>(rest, 32);
    if (rest.size() - kCentralEntryBytes < name_bytes + extra_bytes + comment_bytes)
      damaged(file, fmt::format("entry {} of its table of contents is damaged", i));
    Entry entry{little<std::uint32_t>(rest, 20), little<std::uint32_t>(rest, 24), little<std::uint32_t>(rest, 42)};
    std::string name(rest.substr(kCentralEntryBytes, name_bytes));
    read_wide_values(file, rest.substr(kCentralEntryBytes + name_bytes, extra_bytes), entry);
    if (little<std::uint16_t>(rest, 10) != 0 || (little<std::uint16_t>(rest, 8) & 1) != 0 || entry.packed != entry.size)
      throw CheckpointError(
          "{}: record '{}' is compressed or encrypted, which torch.save does not do; expected stored records; "
          "save the file again with torch.save",
          file.name(), name);
    if (!names.insert(name).second) damaged(file, fmt::format("record '{}' stands twice in it", name));
    records.push_back(locate(file, std::move(name), entry));
    rest.remove_prefix(kCentralEntryBytes + name_bytes + extra_bytes + comment_bytes);
  }
  return records;
}

}  // namespace baichuan
