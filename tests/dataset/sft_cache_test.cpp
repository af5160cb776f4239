#include "data/sft_cache.h"

#include <algorithm>

#include "core/files.h"
#include "dataset_test_support.h"

namespace baichuan {
namespace {

constexpr CacheKey kKey = {1, 2};
using Ids = std::vector<int32_t>;

std::vector<SftRow> some_rows() {
  return {{.ids = {5, 6, 7}, .labels = {{1, 3}}},
          {.ids = {9}, .labels = {{0, 1}}, .truncated = true},
          {.ids = {1, 2, 3, 60000}, .labels = {{1, 2, 2}, {3, 4}}}};
}

void write_rows(const fs::path& file, int32_t vocab_size = 64000) {
  SftCacheWriter writer(file, kKey, vocab_size);
  for (const SftRow& row : some_rows()) writer.add(row);
  writer.finish({.read = 7, .empty = 2, .bad = 1, .unlabelled = 1});
}

TEST(SftCache, GivesBackWhatWasWritten) {
  const TemporaryDirectory folder;
  for (const int32_t vocab_size : {64000, 65536, 125696}) {
    const fs::path file = folder.path() / "rows.sft";
    write_rows(file, vocab_size);
    const auto cache = SftCache::open(file, kKey);
    ASSERT_NE(cache, nullptr);
    const auto rows = some_rows();
    ASSERT_EQ(cache->rows(), 3);
    Ids ids;
    for (int64_t i = 0; i < 3; ++i) {
      const SftRow& row = rows[static_cast<std::size_t>(i)];
      cache->read_ids(i, ids);
      EXPECT_EQ(ids, row.ids);
      EXPECT_EQ(cache->length(i), std::ssize(row.ids));
      EXPECT_EQ(cache->label_count(i), row.label_count());
      ASSERT_EQ(cache->labels(i).size(), row.labels.size());
    }
    EXPECT_EQ(cache->labels(2)[0].label, 2);
    EXPECT_EQ(cache->labels(2)[1].begin, 3U);
    EXPECT_EQ(cache->counts().read, 7);
    EXPECT_EQ(cache->counts().kept, 3);
    EXPECT_EQ(cache->counts().truncated, 1);
    EXPECT_EQ(cache->counts().tokens, 8);
    EXPECT_EQ(cache->counts().label_tokens, 5);
  }
}

TEST(SftCache, KeepsLargeVocabulariesIn32Bits) {
  const TemporaryDirectory folder;
  SftCacheWriter writer(folder.path() / "rows.sft", kKey, 125696);
  writer.add({.ids = {125695, 3}, .labels = {{0, 2}}});
  writer.finish({});
  Ids ids;
  SftCache::open(folder.path() / "rows.sft", kKey)->read_ids(0, ids);
  EXPECT_EQ(ids, (Ids{125695, 3}));
}

TEST(SftCache, HoldsNoRowsAtAll) {
  const TemporaryDirectory folder;
  SftCacheWriter(folder.path() / "rows.sft", kKey, 10).finish({.read = 4, .empty = 4});
  const auto cache = SftCache::open(folder.path() / "rows.sft", kKey);
  ASSERT_NE(cache, nullptr);
  EXPECT_EQ(cache->rows(), 0);
  EXPECT_EQ(cache->counts().empty, 4);
}

TEST(SftCache, LeavesNothingBehindWithoutFinish) {
  const TemporaryDirectory folder;
  {
    SftCacheWriter writer(folder.path() / "rows.sft", kKey, 10);
    writer.add({.ids = {1}, .labels = {{0, 1}}});
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(SftCache, TellsWhyItIsNotUsed) {
  const TemporaryDirectory folder;
  const fs::path file = folder.path() / "rows.sft";
  auto state = SftCache::State::kGood;
  EXPECT_EQ(SftCache::open(file, kKey, &state), nullptr);
  EXPECT_EQ(state, SftCache::State::kMissing);
  write_rows(file);
  EXPECT_EQ(SftCache::open(file, {1, 3}, &state), nullptr);
  EXPECT_EQ(state, SftCache::State::kOther);
  EXPECT_NE(SftCache::open(file, kKey, &state), nullptr);
  EXPECT_EQ(state, SftCache::State::kGood);
  fs::resize_file(file, fs::file_size(file) - 1);
  EXPECT_EQ(SftCache::open(file, kKey, &state), nullptr);
  EXPECT_EQ(state, SftCache::State::kDamaged);
  folder.write("rows.sft", "");
  EXPECT_EQ(SftCache::open(file, kKey, &state), nullptr);
  EXPECT_EQ(state, SftCache::State::kDamaged);
}

TEST(SftCache, NoticesEveryChangedByte) {
  const TemporaryDirectory folder;
  const fs::path file = folder.path() / "rows.sft";
  write_rows(file);
  const std::string whole = read_file(file);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x40);
    folder.write("rows.sft", bytes);
    EXPECT_EQ(SftCache::open(file, kKey), nullptr) << "byte " << at;
  }
}

}  // namespace
}  // namespace baichuan
