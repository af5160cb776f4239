#include "io/model_files.h"

#include <gmock/gmock.h>

#include "io_test_files.h"

namespace baichuan {
namespace {

using ModelFilesTest = IoTest;

TEST_F(ModelFilesTest, CopiesTokenizerSettingsCodeAndLicencesButNoWeights) {
  const std::vector<std::string> wanted{"Baichuan-13B 模型商用许可协议.pdf",
                                        "Community License for Baichuan-13B Model.pdf",
                                        "LICENSE",
                                        "NOTICE.txt",
                                        "generation_config.json",
                                        "modeling_baichuan.py",
                                        "special_tokens_map.json",
                                        "tokenizer.model",
                                        "tokenizer_config.json"};
  for (const auto& name : wanted) write("base/" + name, "contents of " + name);
  for (const char* name : {"config.json", "README.md", "model.safetensors", "pytorch_model.bin", "training_args.bin",
                           "model.safetensors.index.json", "trainer_state.json"})
    write(std::string("base/") + name, "x");
  write("merged/LICENSE", "of something else");
  const auto copied = copy_model_side_files(directory_ / "base", directory_ / "merged");
  std::vector<std::string> names(copied.begin(), copied.end());
  EXPECT_THAT(names, testing::UnorderedElementsAreArray(wanted));
  for (const auto& name : wanted) EXPECT_EQ(bytes_of(directory_ / "merged" / name), "contents of " + name);
  EXPECT_FALSE(fs::exists(directory_ / "merged" / "config.json"));
}

TEST_F(ModelFilesTest, MakesTheFolderAndTakesAModelWithoutSideFiles) {
  fs::create_directory(directory_ / "base");
  EXPECT_TRUE(copy_model_side_files(directory_ / "base", directory_ / "a" / "b").empty());
  EXPECT_TRUE(fs::is_directory(directory_ / "a" / "b"));
}

TEST_F(ModelFilesTest, NamesAFolderThatCannotBeMade) {
  const fs::path file = write("a_file", "");
  EXPECT_THAT(message_of([&] { copy_model_side_files(directory_, file / "folder"); }),
              testing::HasSubstr("cannot create"));
}

}  // namespace
}  // namespace baichuan
