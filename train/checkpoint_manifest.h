// manifest.json: the last file written into a checkpoint, with the size and the XXH3-128 checksum of all others.
// A directory with a manifest was complete when it was written; whether it still is, find_damage() says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace baichuan {

inline constexpr const char* kManifestName = "manifest.json";

struct ManifestEntry {
  std::string path;  // relative to the checkpoint, with '/'
  std::uint64_t bytes = 0;
  std::string xxh3_128;  // 32 hexadecimal digits
};

struct CheckpointManifest {
  std::int64_t step = 0;
  std::vector<ManifestEntry> files;  // sorted by path
};

// Regular files below `directory`, the manifest itself left out; sorted relative paths.
std::vector<std::string> checkpoint_files(const std::filesystem::path& directory);

std::string file_checksum(const std::filesystem::path& path);

// Size and checksum of `directory`/`name`; reads the file once.
ManifestEntry describe_file(const std::filesystem::path& directory, const std::string& name);

// Reads every file once, but those that `known` describes. Throws MachineError when one of these is not there.
CheckpointManifest make_manifest(const std::filesystem::path& directory,
                                 std::int64_t step,
                                 const std::vector<ManifestEntry>& known = {});
void write_manifest(const std::filesystem::path& directory, const CheckpointManifest& manifest);
// Throws CheckpointError when it is missing or not one.
CheckpointManifest read_manifest(const std::filesystem::path& directory);

// What is wrong with a checkpoint, as a sentence that names the file ("optimizer.safetensors is missing"); empty
// when nothing is. Without `checksums` only presence and sizes are looked at.
std::optional<std::string> find_damage(const std::filesystem::path& directory, bool checksums = true);

}  // namespace baichuan
