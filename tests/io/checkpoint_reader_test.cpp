#include "io/checkpoint_reader.h"

#include <algorithm>

#include <gmock/gmock.h>

#include <torch/torch.h>

#include "core/error.h"
#include "io/checkpoint_writer.h"
#include "io_test_files.h"

namespace baichuan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

class CheckpointReaderTest : public IoTest {
 protected:
  // One .safetensors file.
  fs::path save(const std::string& name, const Tensors& tensors) {
    std::vector<TensorSpec> specs;
    for (const auto& [tensor, value] : tensors) specs.push_back({tensor, value.scalar_type(), value.sizes().vec()});
    const fs::path folder = directory_ / "writing";
    CheckpointWriter writer(folder, specs, {.max_shard_bytes = 1 << 30});
    for (const auto& [tensor, value] : tensors) writer.write(tensor, value);
    writer.finish();
    fs::rename(folder / "model.safetensors", directory_ / name);
    fs::remove_all(folder);
    return directory_ / name;
  }
  std::string refusal() {
    return message_of([&] { CheckpointReader::open(directory_); });
  }
  std::vector<std::string> names(const CheckpointReader& reader) {
    std::vector<std::string> found;
    for (const auto& spec : reader.tensors()) found.push_back(spec.name);
    return found;
  }
};

TEST_F(CheckpointReaderTest, ReadsShardsThatSplitALayer) {
  const auto reader = CheckpointReader::open(committed("shards"));
  EXPECT_THAT(names(reader),
              testing::ElementsAre("model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.W_pack.weight",
                                   "model.layers.1.mlp.up_proj.weight", "lm_head.weight"));
  EXPECT_EQ(reader.file_of("model.layers.1.self_attn.W_pack.weight").filename(), "pytorch_model-00001-of-00002.bin");
  EXPECT_EQ(reader.file_of("model.layers.1.mlp.up_proj.weight").filename(), "pytorch_model-00002-of-00002.bin");
  EXPECT_TRUE(torch::equal(reader.read("model.layers.1.mlp.up_proj.weight", torch::kFloat64), eighths({4, 3})));
  EXPECT_EQ(reader.files().size(), 2);
}

TEST_F(CheckpointReaderTest, ReadsShardsWithoutAnIndex) {
  for (const char* name : {"pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"})
    fs::copy(committed("shards") / name, directory_);
  EXPECT_EQ(CheckpointReader::open(directory_).tensors().size(), 4);
  fs::remove(directory_ / "pytorch_model-00002-of-00002.bin");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("expected 2 shards; found 1, number 2 is missing"), HasSubstr("incomplete")));
}

TEST_F(CheckpointReaderTest, PrefersSafetensorsAndLeavesOtherFilesAlone) {
  save("model.safetensors", {{"a", eighths({2})}});
  save("adapter_model.safetensors", {{"b", eighths({2})}});
  write("pytorch_model.bin", "anything");
  write("optimizer.safetensors", "anything");
  EXPECT_THAT(names(CheckpointReader::open(directory_)), testing::ElementsAre("a"));
  fs::rename(directory_ / "model.safetensors", directory_ / "weights.safetensors");
  EXPECT_THAT(refusal(), HasSubstr("pytorch_model.bin")) << "transformers does not look for other names than these";
  fs::remove(directory_ / "pytorch_model.bin");
  EXPECT_THAT(names(CheckpointReader::open(directory_)), testing::ElementsAre("a"));
  EXPECT_THAT(names(CheckpointReader::open(directory_ / "weights.safetensors")), testing::ElementsAre("a"));
}

TEST_F(CheckpointReaderTest, ReadsAdaptersInEitherFormat) {
  EXPECT_THAT(message_of([&] { CheckpointReader::open_adapter(directory_); }),
              AllOf(HasSubstr(directory_.string()), HasSubstr("adapter_model.safetensors or adapter_model.bin")));
  fs::copy(committed("module.bin"), directory_ / "adapter_model.bin");
  EXPECT_EQ(CheckpointReader::open_adapter(directory_).tensors().size(), 4);
  save("adapter_model.safetensors", {{"b", eighths({2})}});
  EXPECT_THAT(names(CheckpointReader::open_adapter(directory_)), testing::ElementsAre("b"));
}

TEST_F(CheckpointReaderTest, SaysWhatIsMissing) {
  EXPECT_THAT(refusal(), AllOf(HasSubstr(directory_.string()), HasSubstr("found neither")));
  EXPECT_THAT(message_of([&] { CheckpointReader::open(directory_ / "nowhere"); }), HasSubstr("does not exist"));
  fs::create_directory(directory_ / "model.safetensors");
  EXPECT_THAT(refusal(), HasSubstr("is not a regular file"));
}

TEST_F(CheckpointReaderTest, RefusesShardsOfSeveralCheckpoints) {
  save("model-00001-of-00002.safetensors", {{"a", eighths({2})}});
  save("model-00001-of-00003.safetensors", {{"b", eighths({2})}});
  EXPECT_THAT(refusal(), HasSubstr("found files of several and no index"));
}

TEST_F(CheckpointReaderTest, RefusesTensorsThatStandInTwoShardsWithoutAnIndex) {
  save("model-00001-of-00002.safetensors", {{"a", eighths({2})}});
  save("model-00002-of-00002.safetensors", {{"a", eighths({3})}});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("'a' stands in model-00001-of-00002.safetensors too")));
  write("model.safetensors.index.json", R"({"weight_map":{"a":"model-00002-of-00002.safetensors"}})");
  EXPECT_EQ(CheckpointReader::open(directory_).find("a")->shape, std::vector<int64_t>{3});
}

TEST_F(CheckpointReaderTest, ChecksTheIndexAgainstTheShards) {
  const auto index = [&](std::string_view text) {
    write("model.safetensors.index.json", text);
    return refusal();
  };
  save("one.safetensors", {{"a", eighths({2})}});
  save("two.safetensors", {{"b", eighths({2})}});
  EXPECT_THAT(index(R"({"weight_map":{"a":"one.safetensors","c":"two.safetensors"}})"),
              HasSubstr("expected tensor 'c' in two.safetensors; it is not there"));
  EXPECT_THAT(index(R"({"weight_map":{"a":"two.safetensors","b":"one.safetensors"}})"),
              HasSubstr("expected tensor 'a' in two.safetensors"));
  EXPECT_THAT(index(R"({"weight_map":{"a":"one.safetensors","b":"three.safetensors"}})"),
              AllOf(HasSubstr("expected 2 shards; 1 of them are missing, the first is three.safetensors")));
  EXPECT_THAT(index(R"({"weight_map":{"a":"../one.safetensors"}})"),
              HasSubstr("a file beside the index for tensor 'a'"));
  EXPECT_THAT(index(R"({"weight_map":{"a":7}})"), HasSubstr("found 7"));
  EXPECT_THAT(index(R"({"weights":{}})"), HasSubstr("expected an object with a weight_map"));
  EXPECT_THAT(index("{"), HasSubstr("expected valid JSON"));
}

TEST_F(CheckpointReaderTest, NamesTensorFileFoundAndExpectedShape) {
  const fs::path file = save("model.safetensors", {{"model.norm.weight", eighths({2, 3})}});
  const auto reader = CheckpointReader::open(directory_);
  at::Tensor wrong = torch::empty({3, 2});
  EXPECT_THAT(message_of([&] { reader.read_into("model.norm.weight", wrong); }),
              AllOf(HasSubstr(file.string()), HasSubstr("'model.norm.weight'"), HasSubstr("expected shape [3, 2]"),
                    HasSubstr("found [2, 3]"), HasSubstr("config.json")));
  EXPECT_THAT(message_of([&] { reader.read("lm_head.weight"); }), HasSubstr("expected tensor 'lm_head.weight'"));
  EXPECT_EQ(reader.find("lm_head.weight"), nullptr);
}

// Sizes above the piece of a thread (8 MB) and above the buffer of a conversion (512 kB), and no multiples of them.
TEST_F(CheckpointReaderTest, ConvertsOnTheWayAsATenDoes) {
  torch::manual_seed(5);
  const auto wide = torch::randn({5'000'003}, torch::kFloat64);
  const auto full = wide.to(torch::kFloat32);
  const auto brain = full.to(torch::kBFloat16);
  save("model.safetensors", {{"f64", wide}, {"f32", full}, {"bf16", brain}, {"f16", full.to(torch::kHalf)}});
  const auto reader = CheckpointReader::open(directory_);
  for (const auto& [name, stored] :
       Tensors{{"f64", wide}, {"f32", full}, {"bf16", brain}, {"f16", full.to(torch::kHalf)}})
    for (const auto dtype : {torch::kFloat64, torch::kFloat32, torch::kBFloat16, torch::kHalf})
      EXPECT_TRUE(torch::equal(reader.read(name, dtype), stored.to(dtype))) << name << " to " << dtype_name(dtype);
}

TEST_F(CheckpointReaderTest, FillsManyTensorsAtOnceWhateverTheirStrides) {
  torch::manual_seed(6);
  Tensors stored;
  for (int i = 0; i < 40; ++i) stored.emplace_back(fmt::format("t{}", i), torch::randn({i, 7, 11}));
  stored.emplace_back("large", torch::randn({3'000, 1'001}));
  stored.emplace_back("scalar", torch::randn({}));
  save("model.safetensors", stored);
  std::vector<ReadRequest> requests;
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const auto& value = stored[i].second;
    at::Tensor destination = torch::full(value.sizes(), -1.0F);
    if (i % 3 == 1 && value.dim() > 1) destination = destination.transpose(0, 1).contiguous().transpose(0, 1);
    destination.set_requires_grad(true);
    requests.push_back({stored[i].first, destination});
  }
  CheckpointReader::open(directory_).read_all(requests);
  for (std::size_t i = 0; i < stored.size(); ++i)
    EXPECT_TRUE(torch::equal(requests[i].destination.detach(), stored[i].second)) << stored[i].first;
}

TEST_F(CheckpointReaderTest, ReadsRows) {
  const auto value = torch::arange(60).reshape({10, 6});
  save("model.safetensors", {{"a", value}});
  const auto reader = CheckpointReader::open(directory_);
  EXPECT_TRUE(torch::equal(reader.read_rows("a", 3, 4), value.slice(0, 3, 7)));
  EXPECT_TRUE(torch::equal(reader.read_rows("a", 9, 1, torch::kFloat32), value.slice(0, 9).to(torch::kFloat32)));
  EXPECT_EQ(reader.read_rows("a", 10, 0).size(0), 0);
  EXPECT_THROW(reader.read_rows("a", 9, 2), c10::IndexError);
}

TEST_F(CheckpointReaderTest, NoticesAFileThatIsCutWhileItIsOpen) {
  const fs::path file = save("model.safetensors", {{"a", eighths({100'000})}});
  const auto reader = CheckpointReader::open(directory_);
  fs::resize_file(file, 1000);
  EXPECT_THAT(message_of([&] { reader.read("a"); }), HasSubstr("became shorter"));
}

}  // namespace
}  // namespace baichuan
