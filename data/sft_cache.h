// Tokenised rows in one file that is mapped, not read: ids, where rows begin, what is learnt.
//
//   header   256 bytes: magic, key of all that shaped the rows, sizes, counts, checksums
//   ids      uint16 or uint32, all rows end to end
//   begins   uint64 [rows + 1], first id of each row
//   firsts   uint64 [rows + 1], first label span of each row
//   spans    LabelSpan, all rows end to end
//
// Little endian. The file appears whole or not at all, and is checked as a whole before it is used.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/files.h"
#include "data/sft_row.h"

namespace baichuan {

using CacheKey = std::array<uint64_t, 2>;

// What became of the rows that were read.
struct RowCounts {
  int64_t read = 0;
  int64_t kept = 0;
  int64_t empty = 0;       // no instruction or no output: dropped
  int64_t bad = 0;         // unreadable, skipped on request
  int64_t unlabelled = 0;  // nothing left to learn after cutting: dropped
  int64_t truncated = 0;   // kept, but cut
  int64_t tokens = 0;
  int64_t label_tokens = 0;
};

struct SftCacheHeader {
  char magic[8];
  CacheKey key;
  uint64_t file_bytes;
  uint64_t payload_hash;  // XXH3-64 of all that follows the header
  uint64_t ids_at, begins_at, firsts_at, spans_at;
  uint64_t rows, spans;
  uint64_t id_bytes;  // 2 or 4
  RowCounts counts;
  uint64_t reserved[11];
  uint64_t header_hash;  // XXH3-64 of all before it
};
static_assert(sizeof(SftCacheHeader) == 256);

// Writes rows in the order given; nothing is on disk under `path` before finish().
class SftCacheWriter {
 public:
  SftCacheWriter(const fs::path& path, const CacheKey& key, int32_t vocab_size);
  ~SftCacheWriter();

  void add(const SftRow& row);
  // `counts.tokens`, `label_tokens`, `kept` and `truncated` are filled in here.
  void finish(RowCounts counts);

 private:
  struct Output;
  std::unique_ptr<Output> output_;
  SftCacheHeader header_ = {};
  std::vector<uint64_t> begins_ = {0};
  std::vector<uint64_t> firsts_ = {0};
  std::vector<LabelSpan> spans_;
  std::vector<uint16_t> narrow_;
};

class SftCache {
 public:
  enum class State { kGood, kMissing, kOther, kDamaged };  // kOther: of another key or version

  // Null unless the file is there, whole, and of this key; `state` says why.
  static std::shared_ptr<const SftCache> open(const fs::path& path, const CacheKey& key, State* state = nullptr);

  int64_t rows() const { return static_cast<int64_t>(header_.rows); }
  const RowCounts& counts() const { return header_.counts; }
  int64_t length(int64_t row) const;
  int64_t label_count(int64_t row) const;
  void read_ids(int64_t row, std::vector<int32_t>& ids) const;
  std::span<const LabelSpan> labels(int64_t row) const;

 private:
  explicit SftCache(MappedFile file);
  bool is_consistent() const;
  bool sections_fit() const;
  template <class T>
  const T* section(uint64_t at) const {
    return reinterpret_cast<const T*>(file_.bytes().data() + at);
  }

  MappedFile file_;
  SftCacheHeader header_ = {};
};

}  // namespace baichuan
