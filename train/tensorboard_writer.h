// Event files that TensorBoard reads: scalars and text, encoded here (no protobuf).
// Format: records of [u64 length | masked CRC-32C of it | Event message | masked CRC-32C of it], little-endian.
// Source: tensorboard/compat/proto/{event,summary}.proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace baichuan {

// The pieces of the format, apart from the file they go to.
namespace tensorboard {

std::string version_event(double wall_time);
// Readers drop every row of earlier files whose step is `step` or later.
std::string session_start_event(double wall_time, std::int64_t step);
std::string scalars_event(double wall_time, std::int64_t step, std::span<const std::pair<std::string, double>> values);
std::string text_event(double wall_time, std::int64_t step, std::string_view tag, std::string_view text);
std::string record(std::string_view event);

}  // namespace tensorboard

// Where the events of a run go: <output_dir>/runs/<Mon05_13-45-59>_<host>, or `logging_dir` when it is not empty.
// A resumed run goes on in the newest folder of runs/ that holds event files, so that TensorBoard shows one curve.
std::filesystem::path tensorboard_directory(const std::filesystem::path& output_dir,
                                            const std::string& logging_dir,
                                            bool resumed);

// Appends to one new event file; each call writes its record whole before it returns.
class TensorBoardWriter {
 public:
  using Clock = std::function<double()>;  // seconds since the epoch

  // resumed_from: the step of the checkpoint that the run goes on from; rows later than it disappear from view.
  // The file's name sorts after those that are there already, for that is the order in which they are read.
  explicit TensorBoardWriter(const std::filesystem::path& directory,
                             std::optional<std::int64_t> resumed_from = {},
                             Clock clock = {});
  ~TensorBoardWriter();
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;

  void scalars(std::int64_t step, std::span<const std::pair<std::string, double>> values);
  void scalar(std::int64_t step, const std::string& tag, double value);
  // Shown in the Text tab, which renders Markdown.
  void text(std::int64_t step, std::string_view tag, std::string_view text);

  const std::filesystem::path& path() const { return path_; }

 private:
  void append(std::string_view event);

  Clock clock_;
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace baichuan
