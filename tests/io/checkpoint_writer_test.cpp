#include "io/checkpoint_writer.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/file_events.h"
#include "core/json.h"
#include "io/checkpoint_reader.h"
#include "io_test_files.h"

namespace baichuan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CheckpointWriterTest : public IoTest {
 protected:
  void TearDown() override {
    set_file_event_hook({});
    IoTest::TearDown();
  }
  std::vector<std::string> listing() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  // Four tensors of 24 bytes each, all filled with `value`.
  void save(float value, const CheckpointWriteOptions& options) const {
    std::vector<TensorSpec> specs;
    for (const char* name : {"a", "b", "c", "d"}) specs.push_back({name, torch::kFloat32, {2, 3}});
    CheckpointWriter writer(directory_, specs, options);
    for (const auto& spec : specs) writer.write(spec.name, torch::full({2, 3}, value));
    writer.finish();
  }
  // The one value that all tensors have; nothing where a reader finds no whole save.
  std::optional<float> value_of_all() const {
    const auto reader = CheckpointReader::open(directory_);
    const float first = reader.read("a")[0][0].item<float>();
    for (const char* name : {"a", "b", "c", "d"})
      if (!torch::equal(reader.read(name), torch::full({2, 3}, first))) return {};
    return first;
  }
  void start_with(const CheckpointWriteOptions& options) const {
    for (const auto& name : listing()) fs::remove(directory_ / name);
    save(1, options);
  }
  void expect_all(float value) const {
    const auto reader = CheckpointReader::open(directory_);
    for (const char* name : {"a", "b", "c", "d"})
      EXPECT_TRUE(torch::equal(reader.read(name), torch::full({2, 3}, value))) << name;
  }
};

const CheckpointWriteOptions kOneFile{};
const CheckpointWriteOptions kTwoShards{.max_shard_bytes = 50};
const CheckpointWriteOptions kFourShards{.max_shard_bytes = 24};
const CheckpointWriteOptions kOneBin{.format = CheckpointFormat::kBin};
const CheckpointWriteOptions kTwoBins{.format = CheckpointFormat::kBin, .max_shard_bytes = 50};

TEST_F(CheckpointWriterTest, WritesBothFormatsAsTheReaderReadsThem) {
  for (const auto& options : {kOneFile, kTwoShards, kOneBin, kTwoBins}) {
    save(1.25F, options);
    expect_all(1.25F);
  }
}

TEST_F(CheckpointWriterTest, NamesShardsAsTransformersDoes) {
  save(1, kTwoShards);
  EXPECT_THAT(listing(), testing::ElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                              "model.safetensors.index.json"));
  const Json index = read_json_file(directory_ / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 96);
  EXPECT_EQ(index["weight_map"]["b"], "model-00001-of-00002.safetensors");
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00002.safetensors");
}

TEST_F(CheckpointWriterTest, RemovesWhatAnEarlierSaveLeftInEitherFormat) {
  write("adapter_model.safetensors", "not ours");
  write("model.safetensors.notes", "not ours");
  save(1, kTwoShards);
  save(2, kOneBin);
  EXPECT_THAT(listing(),
              testing::ElementsAre("adapter_model.safetensors", "model.safetensors.notes", "pytorch_model.bin"));
  save(3, kTwoBins);
  EXPECT_THAT(listing(), testing::ElementsAre("adapter_model.safetensors", "model.safetensors.notes",
                                              "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin",
                                              "pytorch_model.bin.index.json"));
  save(4, kOneFile);
  EXPECT_THAT(listing(),
              testing::ElementsAre("adapter_model.safetensors", "model.safetensors", "model.safetensors.notes"));
  expect_all(4);
}

TEST_F(CheckpointWriterTest, WritesAdaptersUnderTheirOwnName) {
  save(1, kOneFile);
  CheckpointWriter writer(directory_, {{"x", torch::kFloat32, {1}}}, {.stem = "adapter_model"});
  writer.write("x", torch::ones({1}));
  writer.finish();
  EXPECT_THAT(listing(), testing::ElementsAre("adapter_model.safetensors", "model.safetensors"));
  EXPECT_EQ(CheckpointReader::open_adapter(directory_).read("x").item<float>(), 1);
}

TEST_F(CheckpointWriterTest, LeavesNothingBehindWithoutFinish) {
  save(1, kTwoShards);
  const auto before = listing();
  {
    CheckpointWriter writer(directory_, {{"a", torch::kFloat32, {1}}}, {});
    writer.write("a", torch::zeros({1}));
  }
  EXPECT_EQ(listing(), before);
  expect_all(1);
}

TEST_F(CheckpointWriterTest, RemovesTemporaryFilesOfAWriterThatIsGone) {
  const pid_t gone = ::fork();
  if (gone == 0) ::_exit(0);
  ::waitpid(gone, nullptr, 0);
  const std::string ours = fmt::format(".model.safetensors.{}.999999.tmp", ::getpid());
  write(fmt::format(".model-00001-of-00002.safetensors.{}.0.tmp", gone), "left");
  write(fmt::format(".model.safetensors.{}.17.tmp", gone), "left");
  write(fmt::format(".adapter_model.safetensors.{}.0.tmp", gone), "of another kind");
  write(ours, "being written");
  save(1, kOneFile);
  EXPECT_THAT(listing(), testing::ElementsAre(fmt::format(".adapter_model.safetensors.{}.0.tmp", gone), ours,
                                              "model.safetensors"));
}

// A disk that fails at any operation before the first rename costs nothing of the earlier save.
TEST_F(CheckpointWriterTest, KeepsTheEarlierSaveWhenWritingFails) {
  save(1, kTwoShards);
  const auto before = listing();
  for (int failing = 1;; ++failing) {
    int count = 0;
    bool renaming = false;
    set_file_event_hook([&](std::string_view operation, const fs::path&) {
      renaming = renaming || operation == "rename";
      if (!renaming && ++count == failing) throw MachineError("the disk is full");
    });
    const std::string message = message_of([&] { save(2, kTwoShards); });
    set_file_event_hook({});
    if (message.empty()) {
      EXPECT_GT(failing, 10);
      break;
    }
    EXPECT_EQ(listing(), before) << failing;
    expect_all(1);
  }
  expect_all(2);
}

// What a kill at any operation would leave, and what is read meanwhile: the earlier save whole, or the new one.
TEST_F(CheckpointWriterTest, AtEveryMomentOneSaveIsWhole) {
  for (const auto& earlier : {kOneFile, kTwoShards, kFourShards, kOneBin, kTwoBins})
    for (const auto& later : {kOneFile, kTwoShards, kFourShards, kOneBin, kTwoBins}) {
      start_with(earlier);
      std::vector<std::optional<float>> seen;
      set_file_event_hook([&](std::string_view operation, const fs::path& path) {
        seen.push_back(value_of_all());
        EXPECT_TRUE(seen.back()) << "before " << operation << " of " << path;
      });
      save(2, later);
      set_file_event_hook({});
      seen.push_back(value_of_all());
      EXPECT_EQ(seen.front(), 1);
      EXPECT_EQ(seen.back(), 2);
      EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end())) << "the earlier save came back";
    }
}

TEST_F(CheckpointWriterTest, AFailureAtAnyOperationLeavesOneSaveWholeAndTheNextOneClean) {
  std::vector<std::string> expected;
  for (int failing = 1;; ++failing) {
    start_with(kTwoShards);
    expected = listing();
    int count = 0;
    set_file_event_hook([&](std::string_view, const fs::path&) {
      if (++count == failing) throw MachineError("the disk is full");
    });
    const std::string message = message_of([&] { save(2, kTwoShards); });
    set_file_event_hook({});
    ASSERT_TRUE(value_of_all()) << failing;
    save(3, kTwoShards);
    expect_all(3);
    EXPECT_EQ(listing(), expected) << failing;
    if (message.empty()) break;
  }
}

// A kill runs no destructor: what was staged stays, until the next save.
TEST_F(CheckpointWriterTest, RemovesWhatAKilledWriterHadStaged) {
  start_with(kTwoShards);
  const auto expected = listing();
  write(".model-new1-00001-of-00002.safetensors", "named by no index");
  write(fmt::format("..model-new1-00002-of-00002.safetensors.{}.0.tmp", 999'999'999), "left");
  EXPECT_EQ(value_of_all(), 1);
  save(2, kTwoShards);
  EXPECT_EQ(listing(), expected);

  // Killed after its index had turned to the staged shards: these are the weights now.
  Json index = read_json_file(directory_ / "model.safetensors.index.json");
  for (auto& [tensor, file] : index["weight_map"].items()) {
    const std::string name = file;
    const std::string staged = ".model-new1" + name.substr(std::string("model").size());
    fs::copy_file(directory_ / name, directory_ / staged, fs::copy_options::overwrite_existing);
    file = staged;
  }
  write_json_file(directory_ / "model.safetensors.index.json", index);
  write("model-00002-of-00002.safetensors", "no longer needed");
  EXPECT_EQ(value_of_all(), 2);
  save(3, kTwoShards);
  EXPECT_EQ(value_of_all(), 3);
  EXPECT_EQ(listing(), expected);
}

TEST_F(CheckpointWriterTest, RenamesTheIndexAfterTheShardsAndSyncsBeforeAll) {
  std::vector<std::string> renamed;
  int syncs_before = 0;
  set_file_event_hook([&](std::string_view operation, const fs::path& path) {
    if (operation == "rename") renamed.push_back(path.filename().string());
    if (operation == "sync" && renamed.empty()) ++syncs_before;
  });
  save(1, kTwoShards);
  EXPECT_THAT(renamed, testing::ElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                            "model.safetensors.index.json"));
  EXPECT_GE(syncs_before, 2);
}

TEST_F(CheckpointWriterTest, SaysHowMuchDiskIsMissing) {
  const std::string message = message_of([&] {
    CheckpointWriter writer(directory_, {{"huge", torch::kFloat32, {int64_t{1} << 50}}}, {});
  });
  EXPECT_THAT(message, AllOf(HasSubstr("bytes of free disk space"), HasSubstr(directory_.string())));
  EXPECT_TRUE(listing().empty());
}

TEST_F(CheckpointWriterTest, NamesAFolderThatCannotBeMade) {
  const fs::path file = write("a_file", "");
  EXPECT_THAT(message_of([&] {
                CheckpointWriter writer(file / "folder", {{"a", torch::kFloat32, {1}}}, {});
              }),
              HasSubstr("cannot create " + (file / "folder").string()));
}

TEST_F(CheckpointWriterTest, RefusesDtypesThatTheFormatCannotHold) {
  EXPECT_THAT(message_of([&] {
                CheckpointWriter writer(directory_, {{"a", torch::kFloat8_e4m3fn, {1}}}, kOneBin);
              }),
              AllOf(HasSubstr("tensor 'a' has dtype Float8_e4m3fn"), HasSubstr(".bin"), HasSubstr("--dtype")));
  EXPECT_THAT(message_of([&] {
                CheckpointWriter writer(directory_, {{"a", torch::kComplexFloat, {1}}}, kOneFile);
              }),
              HasSubstr(".safetensors files cannot hold"));
}

TEST_F(CheckpointWriterTest, TreatsMisuseAsABug) {
  CheckpointWriter writer(directory_, {{"a", torch::kFloat32, {2, 3}}}, {});
  EXPECT_THROW(writer.write("b", torch::ones({1})), c10::ValueError);
  EXPECT_THROW(writer.write("a", torch::ones({3, 2})), c10::ValueError);
  EXPECT_THROW(writer.finish(), c10::ValueError);
  writer.write("a", torch::ones({2, 3}));
  EXPECT_THROW(writer.write_rows("a", torch::ones({1, 3})), c10::ValueError);
  EXPECT_THROW(CheckpointWriter(directory_, {{"a", torch::kFloat32, {1}}, {"a", torch::kFloat32, {1}}}, {}),
               c10::ValueError);
}

TEST_F(CheckpointWriterTest, ConvertsOnceAndTakesAnyStridesAndRows) {
  torch::manual_seed(3);
  const auto value = torch::randn({3000, 2001});
  for (const auto format : {CheckpointFormat::kSafetensors, CheckpointFormat::kBin}) {
    CheckpointWriter writer(directory_,
                            {{"scalar", torch::kFloat32, {}},
                             {"half", torch::kHalf, {3000, 2001}},
                             {"empty", torch::kFloat32, {0, 5}},
                             {"rows", torch::kBFloat16, {3000, 2001}},
                             {"flags", torch::kBool, {3}},
                             {"turned", torch::kFloat32, {2001, 3000}}},
                            {.format = format});
    writer.write("turned", value.t());
    for (int64_t row = 0; row < 3000; row += 700) writer.write_rows("rows", value.slice(0, row, row + 700));
    writer.write("half", value);
    writer.write("flags", torch::tensor({true, false, true}));
    writer.write("scalar", torch::tensor(2.5F));
    writer.finish();
    const auto reader = CheckpointReader::open(directory_);
    EXPECT_TRUE(torch::equal(reader.read("turned"), value.t()));
    EXPECT_TRUE(torch::equal(reader.read("half"), value.to(torch::kHalf)));
    EXPECT_TRUE(torch::equal(reader.read("rows"), value.to(torch::kBFloat16)));
    EXPECT_TRUE(torch::equal(reader.read("flags"), torch::tensor({true, false, true})));
    EXPECT_EQ(reader.read("scalar").item<float>(), 2.5F);
    EXPECT_EQ(reader.read("empty").sizes(), at::IntArrayRef({0, 5}));
  }
}

TEST_F(CheckpointWriterTest, WritesEqualFilesForEqualTensors) {
  for (const auto& [options, name] :
       {std::pair{kOneFile, "model.safetensors"}, std::pair{kOneBin, "pytorch_model.bin"}}) {
    save(1, options);
    const std::string first = bytes_of(directory_ / name);
    save(1, options);
    EXPECT_EQ(bytes_of(directory_ / name), first) << name;
  }
}

}  // namespace
}  // namespace baichuan
