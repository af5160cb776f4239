// The table of contents of a zip file whose entries are stored uncompressed, as torch.save writes them: name -> place
// in the file, so that a record is read with pread and never unpacked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/input_file.h"

namespace baichuan {

struct ZipRecord {
  std::string name;
  std::uint64_t offset = 0;  // of the first byte of its data
  std::uint64_t size = 0;
};

// Zip64 included. Throws CheckpointError for anything that is not such a file, compressed entries too.
std::vector<ZipRecord> read_zip_directory(const InputFile& file);

}  // namespace baichuan
