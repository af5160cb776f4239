// Whatever the bytes, readers answer with rows or with one DataError: no crash, no hang, no wild read.
#include <cstddef>

#define XXH_INLINE_ALL
#include <cstring>

#include <xxhash.h>

#include "core/files.h"
#include "data/alpaca_row.h"
#include "data/dataset_info.h"
#include "data/flat_object.h"
#include "data/json_rows.h"
#include "data/sft_cache.h"
#include "dataset_test_support.h"

namespace baichuan {
namespace {

// Flips, inserts, removes and repeats a few bytes, with a liking for those that mean something in JSON.
std::string mutated(std::string bytes, Dice& dice) {
  static constexpr std::string_view kTelling = "{}[]\",:\\/\n\r\t u0123456789-+.eE\xff\x80\xc3\0";
  for (std::size_t i = 0; i <= dice.below(6) && !bytes.empty(); ++i) {
    const std::size_t at = dice.below(bytes.size());
    switch (dice.below(5)) {
      case 0:
        bytes[at] = kTelling[dice.below(kTelling.size())];
        break;
      case 1:
        bytes.insert(at, 1, kTelling[dice.below(kTelling.size())]);
        break;
      case 2:
        bytes.erase(at, 1 + dice.below(4));
        break;
      case 3:
        bytes.insert(at, bytes.substr(dice.below(bytes.size()), dice.below(20)));
        break;
      default:
        bytes.resize(at);
        break;
    }
  }
  return bytes;
}

TEST(DatasetFuzz, RowsOfMutatedFilesAreReadOrRefused) {
  const std::string array =
      "[\n {\"instruction\": \"a \\u4f60 \\\"b\\\"\", \"input\": \"\", \"output\": \"\xe4\xbd\xa0\", \"history\": "
      "[[\"x\", "
      "\"y\"]]},\n {\"instruction\": \"c\", \"input\": null, \"output\": \"d\", \"system\": \"s\"}, {\"n\": "
      "-1.5e3}\n]\n";
  const std::string lines =
      "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \"c\\n\", \"output\": \"d\", \"history\": []}\n";
  Dice dice(11);
  int64_t good = 0;
  int64_t refused = 0;
  for (int round = 0; round < 40000; ++round) {
    const std::string text = mutated(round % 2 == 0 ? array : lines, dice);
    try {
      JsonRows rows(text, "fuzz.json");
      while (const auto row = rows.next()) {
        ASSERT_GE(row->text.data(), text.data());
        ASSERT_LE(row->text.data() + row->text.size(), text.data() + text.size());
        try {
          (void)parse_alpaca_row(row->text, {});
          ++good;
        } catch (const RowError&) {
          ++refused;
        }
      }
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_GT(good, 10000);
  EXPECT_GT(refused, 10000);
}

// The quick parser takes what the general one takes, and gives the same; or it passes.
TEST(DatasetFuzz, FlatObjectsAreReadAsTheGeneralParserReadsThem) {
  const std::string whole =
      "{\"a\": \"x \\u4f60\\ud83d\\ude00\\n\\\"\\/\", \"b\" : null,\"c\":\"\xe4\xbd\xa0\xf0\x9f\x98\x80\", \"a\": "
      "\"last\"}";
  Dice dice(14);
  int64_t taken = 0;
  for (int round = 0; round < 60000; ++round) {
    const std::string text = round == 0 ? whole : mutated(whole, dice);
    FlatObject flat;
    if (!flat.parse(text)) continue;
    ++taken;
    const Json general = Json::parse(text);
    ASSERT_TRUE(general.is_object());
    for (const auto& [name, value] : general.items()) {
      const auto* const field = flat.find(name);
      ASSERT_NE(field, nullptr) << text;
      ASSERT_EQ(field->is_null, value.is_null()) << text;
      ASSERT_EQ(field->text, value.is_null() ? "" : value.get<std::string>()) << text;
    }
  }
  EXPECT_GT(taken, 1000);
}

TEST(DatasetFuzz, DeeplyNestedRowsAreRefused) {
  std::string deep = "[" + std::string(200000, '[') + std::string(200000, ']') + "]";
  JsonRows rows(deep, "deep.json");
  const auto row = rows.next();
  ASSERT_TRUE(row.has_value());
  EXPECT_THROW((void)parse_alpaca_row(row->text, {}), RowError);
}

TEST(DatasetFuzz, MutatedInfoFilesAreReadOrRefused) {
  const TemporaryDirectory folder;
  folder.write("1.json", "[]");
  const std::string info =
      R"({"one": {"file_name": "1.json", "file_sha1": "x", "columns": {"prompt": "a", "response": "b"}, "tags": []}})";
  DataOptions options;
  options.dataset = "one";
  options.dataset_dir = folder.path().string();
  Dice dice(12);
  for (int round = 0; round < 500; ++round) {
    folder.write("dataset_info.json", mutated(info, dice));
    try {
      (void)find_datasets(options);
    } catch (const DataError&) {
    }
  }
}

// Damage that the checksums would catch is made to pass them, so that the checks behind them are met.
TEST(DatasetFuzz, CachesWithForgedChecksumsAreReadSafelyOrRefused) {
  const TemporaryDirectory folder;
  const fs::path file = folder.path() / "rows.sft";
  constexpr CacheKey kKey = {3, 4};
  SftCacheWriter writer(file, kKey, 1000);
  for (int32_t i = 0; i < 20; ++i) writer.add({.ids = {i, i + 1, i + 2}, .labels = {{1, 2, 2}, {2, 3}}});
  writer.finish({});
  const std::string whole = read_file(file);
  Dice dice(13);
  int64_t opened = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = whole;
    for (std::size_t i = 0; i <= dice.below(3); ++i) {
      const std::size_t begin = dice.below(2) == 0 ? dice.below(sizeof(SftCacheHeader)) : dice.below(bytes.size());
      const uint64_t value = dice.below(2) == 0 ? dice.next() : dice.below(300);
      std::memcpy(bytes.data() + begin, &value, std::min<std::size_t>(1 + dice.below(8), bytes.size() - begin));
    }
    SftCacheHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    header.payload_hash = XXH3_64bits(bytes.data() + sizeof header, bytes.size() - sizeof header);
    header.header_hash = XXH3_64bits(&header, offsetof(SftCacheHeader, header_hash));
    std::memcpy(bytes.data(), &header, sizeof header);
    folder.write("rows.sft", bytes);
    const auto cache = SftCache::open(file, header.key);
    if (!cache) continue;
    ++opened;
    std::vector<int32_t> ids;
    for (int64_t row = 0; row < cache->rows(); ++row) {
      cache->read_ids(row, ids);
      for (const LabelSpan& span : cache->labels(row)) ASSERT_LE(span.end, ids.size());
    }
  }
  EXPECT_GT(opened, 10);
}

}  // namespace
}  // namespace baichuan
