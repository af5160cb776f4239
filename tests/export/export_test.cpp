#include "lora/export.h"

#include "core/file_events.h"
#include "export_test.h"
#include "lora/adapter.h"
#include "model/load_weights.h"

namespace baichuan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kFirst = "model.layers.0.self_attn.W_pack.weight";

class ExportTest : public testing::Test {
 protected:
  void SetUp() override { save_base(base(), small_config(PositionEmbedding::kAlibi), 5, at::kFloat); }
  void TearDown() override { set_file_event_hook({}); }

  fs::path base() const { return scratch_ / "base"; }
  fs::path adapter() const { return scratch_ / "adapter"; }
  fs::path output() const { return scratch_ / "merged"; }
  ExportOptions options() const {
    ExportOptions made;
    made.model_directory = base();
    made.adapters = {adapter()};
    made.output_directory = output();
    return made;
  }
  CheckpointReader merged() const { return CheckpointReader::open(output()); }
  std::vector<std::string> listing() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(output())) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  // scaling B A in float32 for layer 0.
  static at::Tensor delta(const NamedTensors& matrices, double scaling) {
    return torch::mm(matrices[1].second, matrices[0].second) * scaling;
  }

  ScratchDirectory scratch_;
};

TEST_F(ExportTest, MergesInFloat32AndRoundsOnce) {
  const auto matrices = adapter_matrices(1);
  save_adapter(adapter(), adapter_json(), matrices);
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    save_base(base(), small_config(PositionEmbedding::kAlibi), 5, dtype);
    const ExportReport report = export_merged(options());
    EXPECT_TRUE(report.complete);
    EXPECT_EQ(report.merged, 2);
    const auto before = CheckpointReader::open(base());
    const auto after = merged();
    ASSERT_EQ(after.tensors().size(), before.tensors().size());
    const auto expected = (before.read(kFirst, at::kFloat) + delta(matrices, 2)).to(dtype);
    EXPECT_TRUE(torch::equal(after.read(kFirst), expected)) << dtype_name(dtype);
    for (const auto& spec : before.tensors()) {
      EXPECT_EQ(after.find(spec.name)->dtype, dtype);
      EXPECT_EQ(torch::equal(after.read(spec.name), before.read(spec.name)),
                spec.name.find("W_pack") == std::string::npos)
          << spec.name;
    }
  }
}

TEST_F(ExportTest, ConvertsEveryFloatingTensorWithoutAnAdapter) {
  save_tensors(base(),
               {{"model.norm.weight", torch::randn({3})}, {"counts", torch::arange(4)}, {"scalar", torch::tensor(1.5)}},
               {});
  ExportOptions job = options();
  job.adapters.clear();
  job.dtype = at::kBFloat16;
  job.writing.format = CheckpointFormat::kBin;
  EXPECT_EQ(export_merged(job).merged, 0);
  EXPECT_TRUE(torch::equal(merged().read("model.norm.weight"),
                           CheckpointReader::open(base()).read("model.norm.weight").to(at::kBFloat16)));
  EXPECT_TRUE(torch::equal(merged().read("counts"), torch::arange(4)));
  EXPECT_EQ(merged().find("scalar")->dtype, at::kBFloat16);
  EXPECT_THAT(listing(), testing::ElementsAre("config.json", "pytorch_model.bin"));
}

TEST_F(ExportTest, KeepsTheConfigurationButForTheDtype) {
  save_adapter(adapter(), adapter_json(), adapter_matrices(1));
  Json config = read_json_file(base() / "config.json");
  config["auto_map"] = {{"AutoConfig", "configuration_baichuan.BaichuanConfig"}};
  config["some_key"] = "kept";
  write_json_file(base() / "config.json", config);
  ExportOptions job = options();
  job.dtype = at::kHalf;
  export_merged(job);
  Json expected = config;
  expected["torch_dtype"] = "float16";
  EXPECT_EQ(read_json_file(output() / "config.json"), expected);
}

TEST_F(ExportTest, WritesTheNewerNameOfTheDtypeWhereTheBaseHasIt) {
  Json config = read_json_file(base() / "config.json");
  config.erase("torch_dtype");
  config["dtype"] = "bfloat16";
  write_json_file(base() / "config.json", config);
  ExportOptions job = options();
  job.adapters.clear();
  export_merged(job);
  const Json found = read_json_file(output() / "config.json");
  EXPECT_EQ(found["dtype"], "float32");
  EXPECT_FALSE(found.contains("torch_dtype"));
}

TEST_F(ExportTest, TakesTokenizerCodeAndLicencesAlong) {
  for (const char* name : {"tokenizer.model", "generation_config.json", "modeling_baichuan.py", "LICENSE", "README.md"})
    write_file_atomically(base() / name, name);
  ExportOptions job = options();
  job.adapters.clear();
  export_merged(job);
  EXPECT_THAT(listing(), testing::ElementsAre("LICENSE", "config.json", "generation_config.json", "model.safetensors",
                                              "modeling_baichuan.py", "tokenizer.model"));
}

TEST_F(ExportTest, AnswersAsBaseAndAdapterDo) {
  const at::NoGradGuard no_grad;
  for (const auto position : {PositionEmbedding::kAlibi, PositionEmbedding::kRope}) {
    const auto config = small_config(position);
    save_base(base(), config, 5, at::kFloat);
    save_adapter(adapter(), adapter_json(), adapter_matrices(3));
    const auto ids = hashed_ids(config, 9, 40);
    const auto logits = [&](BaichuanForCausalLM& model) { return model.logits(model.hidden_states(ids)); };
    const auto model = load_model(base());
    const auto plain = logits(*model);
    const LoraAdapter loaded = LoraAdapter::load(*model, adapter());
    const auto adapted = logits(*model);
    export_merged(options());
    EXPECT_LT(relative_difference(logits(*load_model(output())), adapted), 1e-5);
    EXPECT_GT(relative_difference(plain, adapted), 1e-2) << "the adapter must matter";
  }
}

TEST_F(ExportTest, MergesSeveralAdaptersOneAfterTheOther) {
  const auto one = adapter_matrices(1);
  const auto two = adapter_matrices(2, 6);
  save_adapter(scratch_ / "one", adapter_json(), one);
  save_adapter(scratch_ / "two", adapter_json({{"r", 6}, {"lora_alpha", 3}}), two);
  ExportOptions job = options();
  job.adapters = {scratch_ / "one", scratch_ / "two"};
  EXPECT_EQ(export_merged(job).merged, 2);
  const auto expected = CheckpointReader::open(base()).read(kFirst) + delta(one, 2) + delta(two, 0.5);
  EXPECT_TRUE(torch::equal(merged().read(kFirst), expected));
}

// Adapters that PEFT wrote; the log-probabilities are what PEFT computes with them (tests/data/lora).
TEST_F(ExportTest, MergesAdaptersOfPeftToWhatPeftComputes) {
  const at::NoGradGuard no_grad;
  const fs::path data = fs::path(BAICHUAN_SOURCE_DIR) / "tests/data/lora";
  const Json made_with = read_json_file(data / "made_with.json");
  BaichuanConfig config = small_config(PositionEmbedding::kAlibi);
  config.vocab_size = made_with["config"]["vocab_size"];
  config.hidden_size = made_with["config"]["hidden_size"];
  config.intermediate_size = made_with["config"]["intermediate_size"];
  const std::int64_t seed = made_with["seed"];
  save_base(base(), config, seed, at::kFloat);
  for (const char* name : {"w_pack", "patterns", "one_layer", "expression"}) {
    ExportOptions job = options();
    job.adapters = {data / name};
    EXPECT_GT(export_merged(job).merged, 0) << name;
    const auto model = load_model(output());
    const auto ids = hashed_ids(config, seed + 1000, made_with["length"]);
    const auto found = torch::log_softmax(model->logits(model->hidden_states(ids)), -1)[0];
    const auto want =
        CheckpointReader::open(data / (std::string(name) + ".expected.safetensors")).read("log_probabilities");
    EXPECT_LE(largest_difference(found, want), 2e-5) << name;
  }
}

TEST_F(ExportTest, RefusesToReplaceItsOwnInputs) {
  save_adapter(adapter(), adapter_json(), adapter_matrices(1));
  ExportOptions job = options();
  job.output_directory = base() / "." / "";
  EXPECT_THROW(export_merged(job), UsageError);
  EXPECT_THAT(message_of([&] { export_merged(job); }), HasSubstr("another directory than the model's"));
  job.output_directory = adapter();
  EXPECT_THAT(message_of([&] { export_merged(job); }), HasSubstr("another directory than the adapter's"));
}

TEST_F(ExportTest, RefusesWhatIsNotBaichuan) {
  write_json_file(base() / "config.json", Json{{"model_type", "llama"}, {"architectures", {"LlamaForCausalLM"}}});
  ExportOptions job = options();
  job.adapters.clear();
  EXPECT_THROW(export_merged(job), ConfigError);
}

TEST_F(ExportTest, NamesWeightsThatFloat16CannotHold) {
  save_tensors(base(), {{"model.norm.weight", torch::tensor({1.0F, 70000.0F})}}, {});
  ExportOptions job = options();
  job.adapters.clear();
  job.dtype = at::kHalf;
  EXPECT_THAT(message_of([&] { export_merged(job); }), AllOf(HasSubstr("up to 65504 in 'model.norm.weight'"),
                                                             HasSubstr("found 70000"), HasSubstr("--dtype bf16")));
  EXPECT_TRUE(listing().empty());
}

TEST_F(ExportTest, StopsWhenItIsTold) {
  ExportOptions job = options();
  job.adapters.clear();
  std::int64_t seen = 0;
  job.on_progress = [&](std::int64_t written, std::int64_t total) {
    seen = written;
    return written < total / 2;
  };
  EXPECT_FALSE(export_merged(job).complete);
  EXPECT_GT(seen, 0);
  EXPECT_TRUE(listing().empty());
}

// Whatever operation fails before the first rename, an earlier export stays whole.
TEST_F(ExportTest, KeepsTheEarlierExportWhenTheDiskFails) {
  save_adapter(adapter(), adapter_json(), adapter_matrices(1));
  write_file_atomically(base() / "tokenizer.model", "pieces");
  export_merged(options());
  const auto before = listing();
  const auto weight = merged().read(kFirst);
  save_adapter(adapter(), adapter_json(), adapter_matrices(2));
  ExportOptions job = options();
  job.dtype = at::kHalf;
  for (int failing = 1;; failing += 3) {
    int count = 0;
    bool renaming = false;
    set_file_event_hook([&](std::string_view operation, const fs::path&) {
      renaming = renaming || operation == "rename";
      if (!renaming && ++count == failing) throw MachineError("the disk is full");
    });
    const std::string message = message_of([&] { export_merged(job); });
    set_file_event_hook({});
    if (message.empty()) break;
    ASSERT_EQ(listing(), before) << failing;
    ASSERT_TRUE(torch::equal(merged().read(kFirst), weight));
    ASSERT_EQ(read_json_file(output() / "config.json")["torch_dtype"], "float32");
  }
  EXPECT_EQ(merged().find(kFirst)->dtype, at::kHalf);
}

}  // namespace
}  // namespace baichuan
