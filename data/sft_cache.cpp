#include "data/sft_cache.h"

#include <algorithm>
#include <cstring>
#include <limits>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/error.h"

namespace baichuan {

namespace {

constexpr char kMagic[8] = {'B', 'C', 'H', 'S', 'F', 'T', '0', '1'};
constexpr int32_t kNarrowVocabulary = 1 << 16;
constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

uint64_t hash_of_header(const SftCacheHeader& header) {
  return XXH3_64bits(&header, offsetof(SftCacheHeader, header_hash));
}

}  // namespace

// Collects small writes and hashes what it writes.
struct SftCacheWriter::Output {
  explicit Output(const fs::path& path) : file(path), hash(XXH3_createState(), XXH3_freeState) {
    XXH3_64bits_reset(hash.get());
    buffer.reserve(2 * kBufferBytes);
  }

  void write(const void* data, std::size_t bytes) {
    const auto* from = static_cast<const char*>(data);
    buffer.insert(buffer.end(), from, from + bytes);
    at += bytes;
    if (buffer.size() >= kBufferBytes) flush();
  }

  // A section begins at a multiple of 8 bytes.
  uint64_t begin_section() {
    constexpr char kZeros[8] = {};
    if (at % 8 != 0) write(kZeros, 8 - at % 8);
    return at;
  }

  void flush() {
    XXH3_64bits_update(hash.get(), buffer.data(), buffer.size());
    file.write_at(at - buffer.size(), buffer.data(), buffer.size());
    buffer.clear();
  }

  AtomicFile file;
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> hash;
  std::vector<char> buffer;
  uint64_t at = sizeof(SftCacheHeader);
};

SftCacheWriter::SftCacheWriter(const fs::path& path, const CacheKey& key, int32_t vocab_size)
    : output_(std::make_unique<Output>(path)) {
  std::memcpy(header_.magic, kMagic, sizeof kMagic);
  header_.key = key;
  header_.ids_at = output_->at;
  header_.id_bytes = vocab_size <= kNarrowVocabulary ? sizeof(uint16_t) : sizeof(uint32_t);
}

SftCacheWriter::~SftCacheWriter() = default;

void SftCacheWriter::add(const SftRow& row) {
  if (header_.id_bytes == sizeof(uint16_t)) {
    narrow_.assign(row.ids.begin(), row.ids.end());
    output_->write(narrow_.data(), narrow_.size() * sizeof(uint16_t));
  } else {
    output_->write(row.ids.data(), row.ids.size() * sizeof(uint32_t));
  }
  spans_.insert(spans_.end(), row.labels.begin(), row.labels.end());
  begins_.push_back(begins_.back() + row.ids.size());
  firsts_.push_back(spans_.size());
  header_.counts.tokens += static_cast<int64_t>(row.ids.size());
  header_.counts.label_tokens += row.label_count();
  header_.counts.truncated += row.truncated ? 1 : 0;
  header_.counts.kept += 1;
}

void SftCacheWriter::finish(RowCounts counts) {
  counts.kept = header_.counts.kept;
  counts.truncated = header_.counts.truncated;
  counts.tokens = header_.counts.tokens;
  counts.label_tokens = header_.counts.label_tokens;
  header_.counts = counts;
  header_.rows = begins_.size() - 1;
  header_.spans = spans_.size();
  header_.begins_at = output_->begin_section();
  output_->write(begins_.data(), begins_.size() * sizeof(uint64_t));
  header_.firsts_at = output_->begin_section();
  output_->write(firsts_.data(), firsts_.size() * sizeof(uint64_t));
  header_.spans_at = output_->begin_section();
  output_->write(spans_.data(), spans_.size() * sizeof(LabelSpan));
  output_->flush();
  header_.file_bytes = output_->at;
  header_.payload_hash = XXH3_64bits_digest(output_->hash.get());
  header_.header_hash = hash_of_header(header_);
  output_->file.write_at(0, &header_, sizeof header_);
  output_->file.commit();
}

SftCache::SftCache(MappedFile file) : file_(std::move(file)) {
  std::memcpy(&header_, file_.bytes().data(), std::min(sizeof header_, file_.bytes().size()));
}

std::shared_ptr<const SftCache> SftCache::open(const fs::path& path, const CacheKey& key, State* state) {
  State unused = State::kGood;
  State& why = state != nullptr ? *state : unused;
  std::error_code ignored;
  why = State::kMissing;
  if (!fs::is_regular_file(path, ignored)) return nullptr;
  const std::shared_ptr<const SftCache> cache(new SftCache(MappedFile(path)));
  why = State::kDamaged;
  if (!cache->is_consistent()) return nullptr;
  why = State::kOther;
  if (cache->header_.key != key) return nullptr;
  why = State::kGood;
  return cache;
}

// Sections in the file and in their order, without overflow whatever the numbers.
bool SftCache::sections_fit() const {
  const SftCacheHeader& h = header_;
  const uint64_t end = h.file_bytes;
  const auto holds = [](uint64_t from, uint64_t to, uint64_t count, uint64_t each) {
    return from <= to && count <= (to - from) / each;
  };
  if (h.id_bytes != sizeof(uint16_t) && h.id_bytes != sizeof(uint32_t)) return false;
  if (h.ids_at != sizeof h || h.begins_at % 8 != 0 || h.firsts_at % 8 != 0 || h.spans_at % 8 != 0) return false;
  if (h.rows >= end || h.spans >= end || h.begins_at < h.ids_at) return false;
  return holds(h.begins_at, h.firsts_at, h.rows + 1, sizeof(uint64_t)) &&
         holds(h.firsts_at, h.spans_at, h.rows + 1, sizeof(uint64_t)) &&
         holds(h.spans_at, end, h.spans, sizeof(LabelSpan));
}

bool SftCache::is_consistent() const {
  const auto bytes = file_.bytes();
  const SftCacheHeader& h = header_;
  if (bytes.size() < sizeof h || std::memcmp(h.magic, kMagic, sizeof kMagic) != 0) return false;
  if (h.file_bytes != bytes.size() || h.header_hash != hash_of_header(h) || !sections_fit()) return false;
  if (h.payload_hash != XXH3_64bits(bytes.data() + sizeof h, bytes.size() - sizeof h)) return false;
  const auto* const begins = section<uint64_t>(h.begins_at);
  const auto* const firsts = section<uint64_t>(h.firsts_at);
  const auto* const spans = section<LabelSpan>(h.spans_at);
  if (begins[0] != 0 || firsts[0] != 0 || firsts[h.rows] != h.spans) return false;
  if (begins[h.rows] > (h.begins_at - h.ids_at) / h.id_bytes) return false;
  for (uint64_t row = 0; row < h.rows; ++row) {
    if (begins[row + 1] < begins[row] || firsts[row + 1] < firsts[row] || firsts[row + 1] > h.spans) return false;
    const uint64_t length = begins[row + 1] - begins[row];
    uint64_t last = 0;
    for (uint64_t i = firsts[row]; i < firsts[row + 1]; ++i) {
      if (spans[i].begin < last || spans[i].end < spans[i].begin || spans[i].end > length) return false;
      last = spans[i].end;
    }
  }
  return true;
}

int64_t SftCache::length(int64_t row) const {
  const auto* const begins = section<uint64_t>(header_.begins_at);
  return static_cast<int64_t>(begins[row + 1] - begins[row]);
}

int64_t SftCache::label_count(int64_t row) const {
  int64_t count = 0;
  for (const LabelSpan& span : labels(row)) count += span.end - span.begin;
  return count;
}

void SftCache::read_ids(int64_t row, std::vector<int32_t>& ids) const {
  const auto* const begins = section<uint64_t>(header_.begins_at);
  const auto copy = [&]<class T>(const T* all) { ids.assign(all + begins[row], all + begins[row + 1]); };
  if (header_.id_bytes == sizeof(uint16_t))
    copy(section<uint16_t>(header_.ids_at));
  else
    copy(section<uint32_t>(header_.ids_at));
}

std::span<const LabelSpan> SftCache::labels(int64_t row) const {
  const auto* const firsts = section<uint64_t>(header_.firsts_at);
  const auto* const spans = section<LabelSpan>(header_.spans_at);
  return {spans + firsts[row], spans + firsts[row + 1]};
}

}  // namespace baichuan
