#include "train/checkpoint_manifest.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"

namespace baichuan {

namespace {

constexpr int kManifestFormat = 1;
constexpr std::size_t kReadBytes = std::size_t{4} << 20;

}  // namespace

std::vector<std::string> checkpoint_files(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    std::string name = entry.path().lexically_relative(directory).generic_string();
    if (name != kManifestName) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string file_checksum(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw CheckpointError("cannot open {}: {}", path.string(), std::strerror(errno));
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  XXH3_128bits_reset(state.get());
  const auto buffer = std::make_unique_for_overwrite<char[]>(kReadBytes);
  ssize_t got = 0;
  while ((got = ::read(fd, buffer.get(), kReadBytes)) > 0 || (got < 0 && errno == EINTR))
    if (got > 0) XXH3_128bits_update(state.get(), buffer.get(), static_cast<std::size_t>(got));
  const int cause = errno;
  ::close(fd);
  if (got < 0) throw CheckpointError("cannot read {}: {}", path.string(), std::strerror(cause));
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

ManifestEntry describe_file(const fs::path& directory, const std::string& name) {
  return {name, fs::file_size(directory / name), file_checksum(directory / name)};
}

CheckpointManifest make_manifest(const fs::path& directory,
                                 std::int64_t step,
                                 const std::vector<ManifestEntry>& known) {
  std::map<std::string, ManifestEntry> entries;
  for (const auto& entry : known) {
    std::error_code failure;
    if (fs::file_size(directory / entry.path, failure) != entry.bytes || failure)
      throw MachineError(
          "expected {} of {} bytes in {}; another rank has written it where this machine does not see it; give an "
          "--output_dir on a file system that all machines share",
          entry.path, entry.bytes, directory.string());
    entries[entry.path] = entry;
  }
  for (const std::string& name : checkpoint_files(directory))
    if (!entries.contains(name)) entries[name] = describe_file(directory, name);
  CheckpointManifest manifest{step, {}};
  for (const auto& [name, entry] : entries) manifest.files.push_back(entry);
  return manifest;
}

void write_manifest(const fs::path& directory, const CheckpointManifest& manifest) {
  OrderedJson files = OrderedJson::object();
  for (const ManifestEntry& entry : manifest.files)
    files[entry.path] = {{"bytes", entry.bytes}, {"xxh3_128", entry.xxh3_128}};
  const OrderedJson json{{"format", kManifestFormat}, {"step", manifest.step}, {"files", files}};
  write_json_file(directory / kManifestName, json);
}

CheckpointManifest read_manifest(const fs::path& directory) {
  const fs::path path = directory / kManifestName;
  if (!fs::exists(path))
    throw CheckpointError("a complete checkpoint holds {}; {} has none; choose another checkpoint", kManifestName,
                          directory.string());
  try {
    const Json json = Json::parse(read_file(path));
    if (json.at("format") != kManifestFormat)
      throw CheckpointError("{} must have format {}; found {}; it was written by another version of baichuan",
                            path.string(), kManifestFormat, json.at("format").dump());
    CheckpointManifest manifest{json.at("step").get<std::int64_t>(), {}};
    for (const auto& [name, entry] : json.at("files").items())
      manifest.files.push_back({name, entry.at("bytes").get<std::uint64_t>(), entry.at("xxh3_128").get<std::string>()});
    return manifest;
  } catch (const Json::exception& error) {
    throw CheckpointError("{} is damaged: {}; choose another checkpoint", path.string(), error.what());
  }
}

std::optional<std::string> find_damage(const fs::path& directory, bool checksums) {
  CheckpointManifest manifest;
  try {
    manifest = read_manifest(directory);
  } catch (const Error& error) {
    return error.what();
  }
  for (const ManifestEntry& entry : manifest.files) {
    const fs::path path = directory / entry.path;
    std::error_code failure;
    const std::uint64_t bytes = fs::file_size(path, failure);
    if (failure) return fmt::format("{} is missing", path.string());
    if (bytes != entry.bytes)
      return fmt::format("{} has {} bytes where {} were written", path.string(), bytes, entry.bytes);
    if (!checksums) continue;
    const std::string found = file_checksum(path);
    if (found != entry.xxh3_128)
      return fmt::format("{} has changed since it was written (XXH3-128 {} where {} was)", path.string(), found,
                         entry.xxh3_128);
  }
  return {};
}

}  // namespace baichuan
