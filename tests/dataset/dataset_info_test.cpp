#include "data/dataset_info.h"

#include "dataset_test_support.h"

namespace baichuan {
namespace {

class DatasetInfo : public testing::Test {
 protected:
  DataOptions options(const std::string& names) const {
    DataOptions data;
    data.dataset = names;
    data.dataset_dir = folder_.path().string();
    return data;
  }
  DatasetSource find(const std::string& name) const { return find_datasets(options(name)).at(0); }
  std::string refuse(const std::string& name) const {
    return message_of<DataError>([&] { (void)find_datasets(options(name)); });
  }
  void info(const std::string& json) const { folder_.write("dataset_info.json", json); }

  TemporaryDirectory folder_;
};

TEST_F(DatasetInfo, FindsFilesByNameInOrder) {
  info(R"({"one": {"file_name": "1.json"}, "two": {"file_name": "2.jsonl", "file_sha1": "abc"}})");
  folder_.write("1.json", "[]");
  folder_.write("2.jsonl", "{}");
  const auto sources = find_datasets(options(" two , one,"));
  ASSERT_EQ(sources.size(), 2U);
  EXPECT_EQ(sources[0].files, std::vector<fs::path>{folder_.path() / "2.jsonl"});
  EXPECT_EQ(sources[0].sha1, "abc");
  EXPECT_EQ(sources[1].files, std::vector<fs::path>{folder_.path() / "1.json"});
  EXPECT_EQ(sources[1].columns.prompt, "instruction");
  EXPECT_EQ(sources[1].columns.history, "history");
}

TEST_F(DatasetInfo, TakesAFileOrAFolderOfFiles) {
  const fs::path file = folder_.write("rows.json", "[]");
  EXPECT_EQ(find(file.string()).files, std::vector<fs::path>{file});
  folder_.write("many/b.json", "[]");
  folder_.write("many/a.json", "[]");
  folder_.write("many/.hidden", "");
  const auto files = find((folder_.path() / "many").string()).files;
  EXPECT_EQ(files, (std::vector<fs::path>{folder_.path() / "many/a.json", folder_.path() / "many/b.json"}));
}

TEST_F(DatasetInfo, GivesNoColumnToAnAbsentKey) {
  folder_.write("1.json", "[]");
  info(R"({"one": {"file_name": "1.json", "columns": {"prompt": "q", "response": "a", "query": null}}})");
  const ColumnNames columns = find("one").columns;
  EXPECT_EQ(columns.prompt, "q");
  EXPECT_EQ(columns.response, "a");
  EXPECT_EQ(columns.query, std::nullopt);
  EXPECT_EQ(columns.history, std::nullopt);
  EXPECT_EQ(columns.system, std::nullopt);
}

TEST_F(DatasetInfo, NamesAnUnknownDataSetWithTheNearestAndTheList) {
  info(R"({"alpaca_en": {"file_name": "1.json"}, "belle": {"file_name": "2.json"}})");
  const std::string message = refuse("alpaca_em");
  EXPECT_CONTAINS(message, "found 'alpaca_em', did you mean 'alpaca_en'?; known are: alpaca_en, belle");
  EXPECT_CONTAINS(message, (folder_.path() / "dataset_info.json").string());
}

TEST_F(DatasetInfo, SaysSoWhereNoDataSetIsKnown) {
  EXPECT_CONTAINS(refuse("x"), "known are: none");
}

TEST_F(DatasetInfo, SaysWhereToGetAMissingFile) {
  info(R"({"alpaca_gpt4_en": {"file_name": "alpaca_gpt4_data_en.json"}, "mine": {"file_name": "mine.json"}})");
  const std::string place = (folder_.path() / "alpaca_gpt4_data_en.json").string();
  EXPECT_CONTAINS(refuse("alpaca_gpt4_en"), "data set alpaca_gpt4_en: expected the file " + place);
  EXPECT_CONTAINS(refuse("alpaca_gpt4_en"), "get it with `curl -L --create-dirs -o " + place + " https://");
  EXPECT_CONTAINS(refuse("mine"), "put it there or correct 'file_name'");
}

TEST_F(DatasetInfo, KnowsTheGpt4SetsOfTheInstallation) {
  DataOptions data;
  data.dataset = "alpaca_gpt4_zh";
  ASSERT_TRUE(installed_data_directory().has_value());
  const std::string message = message_of<DataError>([&] { (void)find_datasets(data); });
  EXPECT_CONTAINS(message, "data set alpaca_gpt4_zh: expected the file data/alpaca_gpt4_data_zh.json; there is none");
}

TEST_F(DatasetInfo, NamesEntriesThatItCannotUse) {
  folder_.write("1.json", "[]");
  folder_.write("1.csv", "a,b");
  fs::create_directory(folder_.path() / "empty");
  info(R"({"hub": {"hf_hub_url": "a/b"}, "script": {"script_url": "x"}, "none": {}, "text": "1.json",
           "share": {"file_name": "1.json", "formatting": "sharegpt"},
           "rank": {"file_name": "1.json", "ranking": true},
           "columns": {"file_name": "1.json", "columns": {"prompt": "q"}},
           "list": {"file_name": "1.json", "columns": ["q"]},
           "number": {"file_name": 5}, "csv": {"file_name": "1.csv"}, "empty": {"file_name": "empty"}})");
  EXPECT_CONTAINS(refuse("hub"), "'hub': expected 'file_name'; found 'hf_hub_url', and nothing is downloaded or run");
  EXPECT_CONTAINS(refuse("script"), "found 'script_url'");
  EXPECT_CONTAINS(refuse("none"), "'none': expected 'file_name'; found none");
  EXPECT_CONTAINS(refuse("text"), "'text': expected an object; found string");
  EXPECT_CONTAINS(refuse("share"), "formatting 'sharegpt' is not built yet");
  EXPECT_CONTAINS(refuse("rank"), "reward models");
  EXPECT_CONTAINS(refuse("columns"), "found no response");
  EXPECT_CONTAINS(refuse("list"), "'columns' must be an object; found array");
  EXPECT_CONTAINS(refuse("number"), "'file_name' must be text; found number");
  EXPECT_CONTAINS(refuse("csv"), "expected a JSON array or JSON lines; found .csv");
  EXPECT_CONTAINS(refuse("empty"), "found an empty folder");
}

TEST_F(DatasetInfo, NamesADamagedInfoFile) {
  info("{\n\"one\": ");
  EXPECT_CONTAINS(refuse("one"), "dataset_info.json line 2: expected valid JSON");
  info("[]");
  EXPECT_CONTAINS(refuse("one"), "dataset_info.json: expected an object of data sets; found array");
}

TEST_F(DatasetInfo, GivesEachDataSetItsSystemText) {
  const std::string a = folder_.write("a.json", "[]").string();
  const std::string b = folder_.write("b.json", "[]").string();
  DataOptions data = options(a + "," + b);
  data.system_prompt = "both";
  EXPECT_EQ(find_datasets(data)[1].system, "both");
  data.system_prompt = "first|second";
  EXPECT_EQ(find_datasets(data)[0].system, "first");
  EXPECT_EQ(find_datasets(data)[1].system, "second");
  data.system_prompt = "1|2|3";
  EXPECT_CONTAINS(message_of<UsageError>([&] { (void)find_datasets(data); }),
                  "--system_prompt must be one text, or one for each of 2 data sets, separated by |; found 3");
}

TEST(DataOptionsTest, ChecksWhatNeedsTwoFlags) {
  DataOptions data;
  EXPECT_CONTAINS(message_of<UsageError>([&] { data.validate(); }), "expected --dataset with names");
  data.dataset = " , ";
  EXPECT_CONTAINS(message_of<UsageError>([&] { data.validate(); }), "give at least one");
  data.dataset = "a";
  data.mix_strategy = "interleave_under";
  EXPECT_CONTAINS(message_of<UsageError>([&] { data.validate(); }), "--mix_strategy interleave_under is not built yet");
}

TEST(DataOptionsTest, TakesOldNames) {
  DataOptions data;
  OptionTable table;
  table.add("data", data);
  table.find("prompt_template")->set("baichuan");
  table.find("dev_ratio")->set("0.01");
  table.find("source_prefix")->set("S");
  EXPECT_EQ(data.template_name, "baichuan");
  EXPECT_EQ(data.val_size, 0.01);
  EXPECT_EQ(data.system_prompt, "S");
  EXPECT_EQ(table.find("default_system"), table.find("system_prompt"));
  EXPECT_CONTAINS(message_of<UsageError>([&] { table.find("cutoff_len")->set("1"); }), "--cutoff_len must be from 2");
}

TEST(DataOptionsTest, TakesTheRulesOf2023UnlessAFlagSaysOtherwise) {
  DataOptions data;
  OptionTable table;
  table.add("data", data);
  apply_compat_2023(data, table);
  EXPECT_EQ(data.source_limit(), 512);
  EXPECT_TRUE(data.has_turn_limits());
  EXPECT_EQ(data.template_compat, "2023-07");

  DataOptions other;
  OptionTable other_table;
  other_table.add("data", other);
  other_table.find("cutoff_len")->given = true;
  other_table.find("template_compat")->given = true;
  apply_compat_2023(other, other_table);
  EXPECT_FALSE(other.has_turn_limits());
  EXPECT_EQ(other.template_compat, "2023-08");
}

}  // namespace
}  // namespace baichuan
