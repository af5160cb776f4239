#include "data/sft_dataset.h"

#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include "core/files.h"
#include "core/log.h"
#include "dataset_test_support.h"

namespace baichuan {
namespace {

std::string row(const std::string& instruction, const std::string& output) {
  return Json{{"instruction", instruction}, {"input", ""}, {"output", output}}.dump();
}

class SftDatasetTest : public testing::Test {
 protected:
  DataOptions options(const fs::path& file) const {
    DataOptions data;
    data.dataset = file.string();
    data.dataset_cache_dir = (folder_.path() / "cache").string();
    data.template_name = "vanilla";
    return data;
  }
  // Rows "0 …" to "n-1 …", each answer naming its number.
  fs::path numbered(int n) const {
    std::string text;
    for (int i = 0; i < n; ++i) text += row("question " + std::to_string(i), "answer " + std::to_string(i)) + "\n";
    return folder_.write("rows.jsonl", text);
  }
  static std::string text_of(const SftDataset& dataset, int64_t i) {
    return small_tokenizer().decode(dataset.example(i).ids);
  }

  TemporaryDirectory folder_;
};

TEST_F(SftDatasetTest, KeepsTheOrderOfTheRowsWhateverTheThreads) {
  DataOptions data = options(numbered(1000));
  for (const int threads : {1, 2, 5}) {
    data.preprocessing_num_workers = threads;
    data.overwrite_cache = true;
    const SftSplits splits = prepare_sft(data, small_tokenizer(), 42);
    ASSERT_EQ(splits.train.size(), 1000);
    for (int64_t i = 0; i < 1000; ++i)
      ASSERT_EQ(text_of(splits.train, i), "question " + std::to_string(i) + " answer " + std::to_string(i));
  }
}

TEST_F(SftDatasetTest, GivesIdsAndLabels) {
  const SftSplits splits =
      prepare_sft(options(folder_.write("a.json", "[" + row("a", "b") + "]")), small_tokenizer(), 42);
  const SftExample example = splits.train.example(0);
  const auto a = small_tokenizer().encode("a");
  const auto b = small_tokenizer().encode("b");
  EXPECT_EQ(example.ids, (std::vector<int32_t>{a[0], b[0], 2}));
  EXPECT_EQ(example.labels, (std::vector<int32_t>{kNoLabel, b[0], 2}));
  EXPECT_EQ(splits.train.length(0), 3);
  EXPECT_EQ(splits.train.label_tokens(0), 2);
  const std::string description = describe_example(small_tokenizer(), example);
  EXPECT_CONTAINS(description, "label ids: [-100, ");
  EXPECT_CONTAINS(description, "</s>");
}

TEST_F(SftDatasetTest, SplitsByTheSeed) {
  DataOptions data = options(numbered(20));
  data.val_size = 4;
  const SftSplits splits = prepare_sft(data, small_tokenizer(), 42);
  EXPECT_EQ(splits.train.size(), 16);
  EXPECT_EQ(splits.eval.size(), 4);
  EXPECT_EQ(text_of(splits.eval, 0), "question 15 answer 15");
  EXPECT_EQ(text_of(splits.train, 0), "question 12 answer 12");
}

TEST_F(SftDatasetTest, JoinsDataSetsAndTakesTheFirstRowsOfEach) {
  DataOptions data = options(folder_.write("a.json", "[" + row("a", "b") + "," + row("c", "d") + "]"));
  data.dataset += "," + folder_.write("b.jsonl", row("e", "f") + "\n" + row("g", "h")).string();
  EXPECT_EQ(prepare_sft(data, small_tokenizer(), 42).train.size(), 4);
  data.max_samples = 1;
  const SftSplits splits = prepare_sft(data, small_tokenizer(), 42);
  ASSERT_EQ(splits.train.size(), 2);
  EXPECT_EQ(text_of(splits.train, 0), "a b");
  EXPECT_EQ(text_of(splits.train, 1), "e f");
}

TEST_F(SftDatasetTest, DropsAndCountsEmptyRows) {
  const SftSplits splits =
      prepare_sft(options(folder_.write("a.json", "[" + row("a", "") + "," + row("", "b") + "," + row("c", "d") + "]")),
                  small_tokenizer(), 42);
  EXPECT_EQ(splits.train.size(), 1);
  EXPECT_EQ(splits.counts.read, 3);
  EXPECT_EQ(splits.counts.empty, 2);
}

TEST_F(SftDatasetTest, NamesFileRowLineAndFieldOfABadRow) {
  const fs::path file =
      folder_.write("a.json", "[\n" + row("a", "b") + ",\n{\"instruction\": \"c\", \"output\": 5}\n]");
  const std::string message = message_of<DataError>([&] { (void)prepare_sft(options(file), small_tokenizer(), 42); });
  EXPECT_EQ(message, file.string() +
                         " row 1 (line 3): field 'output' must be text; found number; mend the row, or pass "
                         "--on_bad_row skip");
}

TEST_F(SftDatasetTest, SkipsAndCountsBadRowsOnRequest) {
  log::set_level(log::Level::kOff);
  DataOptions data = options(folder_.write("a.jsonl", row("a", "b") + "\n{\"instr\n\n" + row("c", "d") + "\n\"x\"\n"));
  data.on_bad_row = "skip";
  const SftSplits splits = prepare_sft(data, small_tokenizer(), 42);
  log::set_level(log::Level::kInfo);
  EXPECT_EQ(splits.train.size(), 2);
  EXPECT_EQ(splits.counts.bad, 2);
  EXPECT_EQ(splits.counts.read, 4);
}

TEST_F(SftDatasetTest, ReportsTheFirstMistakeWhateverTheThreads) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += i >= 700 && i % 100 == 0 ? "{}\n" : row("a", "b") + "\n";
  DataOptions data = options(folder_.write("rows.jsonl", text));
  for (int round = 0; round < 10; ++round) {
    data.preprocessing_num_workers = 4;
    const std::string message = message_of<DataError>([&] { (void)prepare_sft(data, small_tokenizer(), 42); });
    EXPECT_CONTAINS(message, "row 700 (line 701): expected the field 'instruction'; found none");
  }
  EXPECT_TRUE(std::none_of(fs::directory_iterator(folder_.path() / "cache"), fs::directory_iterator(),
                           [](const auto& entry) { return entry.path().extension() != ".lock"; }));
}

TEST_F(SftDatasetTest, StopsAtATruncatedArrayEvenWhenBadRowsAreSkipped) {
  DataOptions data = options(folder_.write("a.json", "[" + row("a", "b") + ",\n" + row("c", "d").substr(0, 20)));
  data.on_bad_row = "skip";
  const std::string message = message_of<DataError>([&] { (void)prepare_sft(data, small_tokenizer(), 42); });
  EXPECT_CONTAINS(message, "a.json line 2: expected valid JSON in row 1; found the end of the file");
}

TEST_F(SftDatasetTest, SaysWhenNoRowCanBeUsed) {
  const std::string message = message_of<DataError>(
      [&] { (void)prepare_sft(options(folder_.write("a.json", "[" + row("", "b") + "]")), small_tokenizer(), 42); });
  EXPECT_CONTAINS(message, "expected rows to train on; found 1 rows of which none can be used");
  EXPECT_CONTAINS(
      message_of<DataError>([&] { (void)prepare_sft(options(folder_.write("b.json", "[]")), small_tokenizer(), 42); }),
      "found 0 rows");
}

TEST_F(SftDatasetTest, DropsRowsWithNothingLeftToLearn) {
  DataOptions data = options(folder_.write(
      "a.jsonl",
      row("a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j", "b") + "\n" + row("c", "d")));
  data.cutoff_len = 4;
  const SftSplits splits = prepare_sft(data, small_tokenizer(), 42);
  EXPECT_EQ(splits.train.size(), 1);
  EXPECT_EQ(splits.counts.unlabelled, 1);
}

TEST_F(SftDatasetTest, TakesTheCacheWhenNothingHasChanged) {
  DataOptions data = options(numbered(10));
  const SftSplits first = prepare_sft(data, small_tokenizer(), 42);
  const auto written = fs::last_write_time(first.cache_file);
  fs::last_write_time(first.cache_file, written - std::chrono::hours(1));
  data.val_size = 0.5;  // the split is not part of the cache
  const SftSplits second = prepare_sft(data, small_tokenizer(), 7);
  EXPECT_EQ(second.fingerprint, first.fingerprint);
  EXPECT_GE(fs::last_write_time(first.cache_file), written);  // marked as used
  EXPECT_EQ(second.counts.read, 10);
}

TEST_F(SftDatasetTest, HasAnotherCacheForEverythingThatChangesRows) {
  const fs::path file = numbered(3);
  std::vector<std::string> fingerprints = {prepare_sft(options(file), small_tokenizer(), 42).fingerprint};
  const auto add = [&](const std::function<void(DataOptions&)>& change) {
    DataOptions data = options(file);
    change(data);
    fingerprints.push_back(prepare_sft(data, small_tokenizer(), 42).fingerprint);
  };
  add([](DataOptions& data) { data.template_name = "default"; });
  add([](DataOptions& data) { data.template_compat = "2023-07"; });
  add([](DataOptions& data) { data.cutoff_len = 512; });
  add([](DataOptions& data) { data.max_source_length = 512; });
  add([](DataOptions& data) { data.max_target_length = 100; });
  add([](DataOptions& data) { data.train_on_prompt = true; });
  add([](DataOptions& data) { data.max_samples = 2; });
  add([](DataOptions& data) { data.system_prompt = "S"; });
  add([](DataOptions& data) { data.on_bad_row = "skip"; });
  add([&](DataOptions& data) { data.dataset += "," + data.dataset; });
  folder_.write("dataset_info.json", R"({"x": {"file_name": "rows.jsonl", "columns": {"prompt": "output",
                                                                            "response": "instruction"}}})");
  add([&](DataOptions& data) {
    data.dataset_dir = folder_.path().string();
    data.dataset = "x";
  });
  numbered(4);
  add([](DataOptions&) {});
  std::sort(fingerprints.begin(), fingerprints.end());
  EXPECT_EQ(std::adjacent_find(fingerprints.begin(), fingerprints.end()), fingerprints.end());
  EXPECT_EQ(fingerprints.size(), 13U);
}

TEST_F(SftDatasetTest, RebuildsADamagedCache) {
  log::set_level(log::Level::kOff);
  const DataOptions data = options(numbered(10));
  const SftSplits first = prepare_sft(data, small_tokenizer(), 42);
  fs::resize_file(first.cache_file, 300);
  const SftSplits second = prepare_sft(data, small_tokenizer(), 42);
  log::set_level(log::Level::kInfo);
  EXPECT_EQ(second.train.size(), 10);
  EXPECT_GT(fs::file_size(first.cache_file), 300U);
}

TEST_F(SftDatasetTest, TokenisesAgainWithOverwriteCache) {
  DataOptions data = options(numbered(10));
  const SftSplits first = prepare_sft(data, small_tokenizer(), 42);
  struct stat before = {};
  ASSERT_EQ(::stat(first.cache_file.c_str(), &before), 0);
  data.overwrite_cache = true;
  const SftSplits second = prepare_sft(data, small_tokenizer(), 42);
  struct stat after = {};
  ASSERT_EQ(::stat(first.cache_file.c_str(), &after), 0);
  EXPECT_NE(before.st_ino, after.st_ino);
  EXPECT_EQ(first.train.example(9).ids, second.train.example(9).ids);  // the old map still stands
}

TEST_F(SftDatasetTest, RemovesCachesThatNobodyUsedForAMonth) {
  const SftSplits first = prepare_sft(options(numbered(10)), small_tokenizer(), 42);
  fs::last_write_time(first.cache_file, fs::file_time_type::clock::now() - std::chrono::hours(24 * 31));
  (void)prepare_sft(options(numbered(11)), small_tokenizer(), 42);
  EXPECT_FALSE(fs::exists(first.cache_file));
}

TEST_F(SftDatasetTest, ServesSeveralProcessesAtOnce) {
  const DataOptions data = options(numbered(3000));
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      log::set_level(log::Level::kOff);
      bool good = false;
      try {
        const SftSplits splits = prepare_sft(data, Tokenizer(small_model_path()), 42);
        good = splits.train.size() == 3000 && text_of(splits.train, 2999) == "question 2999 answer 2999";
      } catch (const std::exception&) {
      }
      ::_exit(good ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

TEST_F(SftDatasetTest, NamesACacheFolderThatCannotBeWritten) {
  DataOptions data = options(numbered(1));
  data.dataset_cache_dir = folder_.write("a file", "").string();
  EXPECT_CONTAINS(message_of<MachineError>([&] { (void)prepare_sft(data, small_tokenizer(), 42); }),
                  "cannot write to --dataset_cache_dir");
}

TEST_F(SftDatasetTest, UsesTheSystemTextOfTheRowBeforeTheFlag) {
  DataOptions data = options(folder_.write("a.jsonl", R"({"instruction":"a","output":"b","system":"own"})"
                                                      "\n" +
                                                          row("c", "d")));
  data.template_name = "baichuan";
  data.system_prompt = "given";
  const SftSplits splits = prepare_sft(data, small_tokenizer(), 42);
  EXPECT_TRUE(text_of(splits.train, 0).starts_with("own<reserved_102>"));
  EXPECT_TRUE(text_of(splits.train, 1).starts_with("given<reserved_102>"));
}

}  // namespace
}  // namespace baichuan
