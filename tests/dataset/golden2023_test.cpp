// The recorded tokenisation of the Python stack of 2023 (LLaMA-Efficient-Tuning v0.1.3 and v0.1.8) is reproduced.
#include "data/preprocess.h"
#include "data/sft_dataset.h"
#include "dataset_test_support.h"

namespace baichuan {
namespace {

SftExample expand(const SftRow& row) {
  SftExample example{row.ids, std::vector<int32_t>(row.ids.size(), kNoLabel)};
  for (const LabelSpan& span : row.labels)
    for (uint32_t i = span.begin; i < span.end; ++i)
      example.labels[i] = span.label == LabelSpan::kSameAsIds ? row.ids[i] : span.label;
  return example;
}

// The recorded rows are already mapped to prompt, query, response, history.
std::vector<SftExample> preprocess_recorded(const Json& recorded,
                                            const std::string& template_name,
                                            const std::string& compat) {
  const TemporaryDirectory folder;
  DatasetSource source{.name = "recorded", .files = {folder.write("rows.json", recorded.at("rows").dump())}};
  source.columns = {"prompt", "query", "response", "history", "prefix"};
  PreprocessRules rules;
  rules.template_name = template_name;
  rules.threads = 2;
  rules.row = {.compat = parse_template_compat(compat),
               .turn_limits = true,
               .max_source_length = recorded.at("max_source"),
               .max_target_length = recorded.at("max_target")};
  std::vector<SftExample> examples;
  preprocess(std::span(&source, 1), baichuan_tokenizer(), rules,
             [&](const SftRow& row) { examples.push_back(expand(row)); });
  return examples;
}

void expect_recorded(const std::string& file, const std::string& compat) {
  for (const Json& recorded : read_json_file(shared_data() / "golden2023" / file)) {
    const std::string name = recorded.at("template");
    if (name != "default" && name != "baichuan" && name != "vanilla") continue;
    const auto examples = preprocess_recorded(recorded, name, compat);
    const Json& samples = recorded.at("samples");
    ASSERT_EQ(examples.size(), samples.size()) << name;
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const std::string where = file + " " + name + " sample " + std::to_string(i);
      const auto ids = ids_of(samples[i].at("input_ids"));
      const auto labels = ids_of(samples[i].at("labels"));
      // Row 7 of 9 (one before it is dropped) answers "…“好”；</s>end <reserved_102>".
      if (i == 6) {
        const auto answer = baichuan_tokenizer().encode_plain("…“好”；</s>end <reserved_102>");
        const auto& got = examples[i];
        ASSERT_GT(got.ids.size(), answer.size()) << where;
        const auto begin = got.ids.end() - static_cast<std::ptrdiff_t>(answer.size()) - 1;
        EXPECT_EQ(std::vector<int32_t>(begin, got.ids.end() - 1), answer) << where;
        EXPECT_EQ(got.ids.back(), 2) << where;
        EXPECT_EQ(std::count(got.ids.begin(), got.ids.end(), 2), 1) << where;
        const auto source = std::distance(got.ids.begin(), begin);
        EXPECT_TRUE(std::equal(got.ids.begin(), begin, ids.begin())) << where;
        EXPECT_EQ(std::count(got.labels.begin(), got.labels.begin() + source, kNoLabel), source) << where;
        continue;
      }
      EXPECT_EQ(examples[i].ids, ids) << where;
      EXPECT_EQ(examples[i].labels, labels) << where;
    }
  }
}

TEST(Golden2023, RowsOfVersion018AreReproduced) {
  SKIP_WITHOUT_SHARED_DATA();
  expect_recorded("preprocess_v0.1.8.json", "2023-08");
}

TEST(Golden2023, RowsOfVersion013AreReproduced) {
  SKIP_WITHOUT_SHARED_DATA();
  expect_recorded("preprocess_v0.1.3.json", "2023-07");
}

std::vector<std::vector<int32_t>> all_ids(const SftDataset& dataset) {
  std::vector<std::vector<int32_t>> rows;
  for (int64_t i = 0; i < dataset.size(); ++i) rows.push_back(dataset.example(i).ids);
  return rows;
}

void expect_run(const std::string& run, const std::string& dataset, const std::string& compat) {
  const TemporaryDirectory cache;
  const Json trace = read_json_file(shared_data() / "golden2023/sft" / run / "trace.json");
  DataOptions options;
  options.dataset = dataset;
  options.dataset_dir = (shared_data() / "golden2023/data").string();
  options.val_size = 4;
  options.max_source_length = 512;
  options.max_target_length = 512;
  options.template_compat = compat;
  options.dataset_cache_dir = cache.path().string();
  const SftSplits splits = prepare_sft(options, baichuan_tokenizer(), 42);
  EXPECT_EQ(all_ids(splits.train), trace.at("train_rows_input_ids").get<std::vector<std::vector<int32_t>>>()) << run;
  EXPECT_EQ(all_ids(splits.eval), trace.at("eval_rows_input_ids").get<std::vector<std::vector<int32_t>>>()) << run;
}

TEST(Golden2023, RowsOfTheRecordedRunsComeInTheirOrder) {
  SKIP_WITHOUT_SHARED_DATA();
  expect_run("lora_rem", "zh13,en12", "2023-08");
  expect_run("full_brief", "zh12,en12", "2023-08");
  expect_run("lora_gas16", "zh13,en12", "2023-08");
  expect_run("v013_lora", "zh13, en12", "2023-07");
}

}  // namespace
}  // namespace baichuan
