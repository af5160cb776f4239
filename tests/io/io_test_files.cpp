#include "io_test_files.h"

#include <cstdlib>
#include <fstream>

#include <torch/torch.h>

#include "core/error.h"
#include "core/files.h"
#include "io/crc32.h"

namespace baichuan {

namespace {

template <class T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

void IoTest::SetUp() {
  std::string pattern = testing::TempDir() + "io_test_XXXXXX";
  directory_ = ::mkdtemp(pattern.data());
}

void IoTest::TearDown() {
  remove_quietly(directory_);
}

fs::path IoTest::write(const std::string& name, std::string_view bytes) const {
  fs::create_directories((directory_ / name).parent_path());
  fs::remove(directory_ / name);  // some file systems sync a file that is truncated and written again
  std::ofstream(directory_ / name, std::ios::binary) << bytes;
  return directory_ / name;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

fs::path committed(const std::string& name) {
  return fs::path(BAICHUAN_SOURCE_DIR) / "tests" / "data" / "io" / name;
}

std::string bytes_of(const fs::path& file) {
  return read_file(file);
}

std::string safetensors_bytes(std::string_view header, std::string_view data) {
  std::string bytes;
  put<std::uint64_t>(bytes, header.size());
  bytes += header;
  bytes += data;
  return bytes;
}

std::string zip_bytes(const std::vector<std::pair<std::string, std::string>>& records) {
  std::string bytes;
  std::string table;
  for (const auto& [name, contents] : records) {
    const auto start = static_cast<std::uint32_t>(bytes.size());
    std::string common;  // version, flags, method, time, date, crc, packed size, size, length of the name, of the extra
    for (const std::uint16_t field : {20, 0, 0, 0, 33}) put<std::uint16_t>(common, field);
    put<std::uint32_t>(common, crc32(0, contents.data(), contents.size()));
    put<std::uint32_t>(common, static_cast<std::uint32_t>(contents.size()));
    put<std::uint32_t>(common, static_cast<std::uint32_t>(contents.size()));
    put<std::uint16_t>(common, static_cast<std::uint16_t>(name.size()));
    put<std::uint16_t>(common, 0);
    put<std::uint32_t>(bytes, 0x04034b50);
    bytes += common + name + contents;
    put<std::uint32_t>(table, 0x02014b50);
    put<std::uint16_t>(table, 20);
    table += common;
    table.append(10, '\0');
    put<std::uint32_t>(table, start);
    table += name;
  }
  const auto start = static_cast<std::uint32_t>(bytes.size());
  bytes += table;
  put<std::uint32_t>(bytes, 0x06054b50);
  put<std::uint32_t>(bytes, 0);
  put<std::uint16_t>(bytes, static_cast<std::uint16_t>(records.size()));
  put<std::uint16_t>(bytes, static_cast<std::uint16_t>(records.size()));
  put<std::uint32_t>(bytes, static_cast<std::uint32_t>(table.size()));
  put<std::uint32_t>(bytes, start);
  put<std::uint16_t>(bytes, 0);
  return bytes;
}

std::string torch_bytes(std::string_view pickle, std::string_view storage) {
  return zip_bytes({{"archive/data.pkl", std::string(pickle)},
                    {"archive/byteorder", "little"},
                    {"archive/data/0", std::string(storage)},
                    {"archive/version", "3\n"}});
}

at::Tensor eighths(at::IntArrayRef shape) {
  const std::int64_t count = c10::multiply_integers(shape);
  return (torch::arange(count, torch::kFloat64) / 8 - 2).reshape(shape);
}

}  // namespace baichuan
