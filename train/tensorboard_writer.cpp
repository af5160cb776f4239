#include "train/tensorboard_writer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <ctime>

#include <fcntl.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/error.h"

namespace baichuan {

namespace fs = std::filesystem;

namespace tensorboard {

namespace {

// Protocol-buffer wire types, the low three bits of a field's tag.
constexpr unsigned kVarint = 0;
constexpr unsigned kFixed64 = 1;
constexpr unsigned kBytes = 2;
constexpr unsigned kFixed32 = 5;

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7f) | 0x80));
  out.push_back(static_cast<char>(value));
}

void put_tag(std::string& out, unsigned field, unsigned wire_type) {
  put_varint(out, (field << 3) | wire_type);
}

template <class Unsigned>
void put_little_endian(std::string& out, Unsigned value) {
  for (std::size_t i = 0; i < sizeof(Unsigned); ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xff));
}

void put_integer(std::string& out, unsigned field, std::int64_t value) {
  put_tag(out, field, kVarint);
  put_varint(out, static_cast<std::uint64_t>(value));
}

void put_bytes(std::string& out, unsigned field, std::string_view bytes) {
  put_tag(out, field, kBytes);
  put_varint(out, bytes.size());
  out.append(bytes);
}

// Event { double wall_time = 1; int64 step = 2; … }; a step of 0 is the default and is left out, as protobuf does.
std::string event_head(double wall_time, std::int64_t step) {
  std::string event;
  put_tag(event, 1, kFixed64);
  put_little_endian(event, std::bit_cast<std::uint64_t>(wall_time));
  if (step != 0) put_integer(event, 2, step);
  return event;
}

std::uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes.data(), bytes.size()), 15) + 0xa282ead8u;
}

}  // namespace

std::string version_event(double wall_time) {
  std::string event = event_head(wall_time, 0);
  put_bytes(event, 3, "brain.Event:2");
  return event;
}

std::string session_start_event(double wall_time, std::int64_t step) {
  std::string session_log;
  put_integer(session_log, 1, 1);  // status = START
  std::string event = event_head(wall_time, step);
  put_bytes(event, 7, session_log);
  return event;
}

std::string scalars_event(double wall_time, std::int64_t step, std::span<const std::pair<std::string, double>> values) {
  std::string summary;
  for (const auto& [tag, number] : values) {
    std::string value;
    put_bytes(value, 1, tag);
    put_tag(value, 2, kFixed32);
    put_little_endian(value, std::bit_cast<std::uint32_t>(static_cast<float>(number)));
    put_bytes(summary, 1, value);
  }
  std::string event = event_head(wall_time, step);
  put_bytes(event, 5, summary);
  return event;
}

std::string text_event(double wall_time, std::int64_t step, std::string_view tag, std::string_view text) {
  std::string dimension;
  put_integer(dimension, 1, 1);
  std::string shape;
  put_bytes(shape, 2, dimension);
  std::string tensor;
  put_integer(tensor, 1, 7);  // DT_STRING
  put_bytes(tensor, 2, shape);
  put_bytes(tensor, 8, text);

  std::string plugin;
  put_bytes(plugin, 1, "text");
  std::string metadata;
  put_bytes(metadata, 1, plugin);

  std::string value;
  put_bytes(value, 1, std::string(tag) + "/text_summary");
  put_bytes(value, 8, tensor);
  put_bytes(value, 9, metadata);
  std::string summary;
  put_bytes(summary, 1, value);
  std::string event = event_head(wall_time, step);
  put_bytes(event, 5, summary);
  return event;
}

std::string record(std::string_view event) {
  std::string length;
  put_little_endian(length, static_cast<std::uint64_t>(event.size()));
  std::string out = length;
  put_little_endian(out, masked_crc(length));
  out.append(event);
  put_little_endian(out, masked_crc(event));
  return out;
}

}  // namespace tensorboard

namespace {

constexpr std::string_view kEventFilePrefix = "events.out.tfevents.";

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  return name.data();
}

// The largest number of seconds in the names of the event files of a folder; -1 without any.
std::int64_t newest_event_file(const fs::path& directory) {
  std::int64_t newest = -1;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kEventFilePrefix)) continue;
    std::int64_t seconds = 0;
    const char* const begin = name.data() + kEventFilePrefix.size();
    if (std::from_chars(begin, name.data() + name.size(), seconds).ec == std::errc())
      newest = std::max(newest, seconds);
  }
  return newest;
}

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

fs::path tensorboard_directory(const fs::path& output_dir, const std::string& logging_dir, bool resumed) {
  if (!logging_dir.empty()) return logging_dir;
  const fs::path runs = output_dir / "runs";
  if (resumed) {
    std::pair<std::int64_t, fs::path> newest{-1, {}};
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(runs, ignored))
      newest = std::max(newest, std::pair(newest_event_file(entry.path()), entry.path()));
    if (newest.first >= 0) return newest.second;
  }
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  constexpr std::array<const char*, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  return runs / fmt::format("{}{:02}_{:02}-{:02}-{:02}_{}", kMonths[static_cast<std::size_t>(local.tm_mon)],
                            local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, host_name());
}

TensorBoardWriter::TensorBoardWriter(const fs::path& directory, std::optional<std::int64_t> resumed_from, Clock clock)
    : clock_(clock ? std::move(clock) : Clock(seconds_since_epoch)) {
  std::error_code failure;
  fs::create_directories(directory, failure);
  static std::atomic<int> files_opened{0};
  const double now = clock_();
  const std::int64_t seconds = std::max(static_cast<std::int64_t>(now), newest_event_file(directory) + 1);
  path_ =
      directory / fmt::format("{}{:010}.{}.{}.{}", kEventFilePrefix, seconds, host_name(), ::getpid(), files_opened++);
  fd_ = ::open(path_.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0)
    throw MachineError("cannot create the TensorBoard file {}: {}; choose another --logging_dir, or --report_to none",
                       path_.string(), std::strerror(errno));
  append(tensorboard::version_event(now));
  if (resumed_from) append(tensorboard::session_start_event(now, *resumed_from + 1));
}

TensorBoardWriter::~TensorBoardWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void TensorBoardWriter::scalars(std::int64_t step, std::span<const std::pair<std::string, double>> values) {
  if (!values.empty()) append(tensorboard::scalars_event(clock_(), step, values));
}

void TensorBoardWriter::scalar(std::int64_t step, const std::string& tag, double value) {
  const std::pair<std::string, double> one{tag, value};
  scalars(step, std::span(&one, 1));
}

void TensorBoardWriter::text(std::int64_t step, std::string_view tag, std::string_view text) {
  append(tensorboard::text_event(clock_(), step, tag, text));
}

void TensorBoardWriter::append(std::string_view event) {
  const std::string bytes = tensorboard::record(event);
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0)
      throw MachineError("cannot write the TensorBoard file {}: {}; free some disk space or give --report_to none",
                         path_.string(), std::strerror(errno));
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace baichuan
