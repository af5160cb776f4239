#include "model/model_location.h"

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files.h"

namespace baichuan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// A home of its own, and none of the variables that say where caches are.
class ModelLocation : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / fmt::format("baichuan_location_{}", ::getpid());
    fs::remove_all(root_);
    fs::create_directories(root_);
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "MODELSCOPE_CACHE", "XDG_CACHE_HOME"})
      ::unsetenv(name);
    ::setenv("HOME", root_.c_str(), 1);
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path make_model(const fs::path& directory) {
    fs::create_directories(directory);
    write_file_atomically(directory / "config.json", "{}");
    return directory;
  }
  fs::path make_snapshot(const fs::path& hub, const std::string& revision, const std::string& commit) {
    const fs::path repository = hub / "models--baichuan-inc--Baichuan-13B-Base";
    fs::create_directories(repository / "refs");
    write_file_atomically(repository / "refs" / revision, commit + "\n");
    return make_model(repository / "snapshots" / commit);
  }

  const std::string id_ = "baichuan-inc/Baichuan-13B-Base";
  fs::path root_;
};

TEST_F(ModelLocation, ADirectoryIsItself) {
  EXPECT_EQ(resolve_model_directory(root_.string()), root_);
}

TEST_F(ModelLocation, AHubIdIsFoundInTheDefaultCache) {
  const auto snapshot = make_snapshot(root_ / ".cache/huggingface/hub", "main", "abc123");
  EXPECT_EQ(resolve_model_directory(id_), snapshot);
}

TEST_F(ModelLocation, TheRevisionChoosesTheSnapshot) {
  const fs::path hub = root_ / "hf/hub";
  ::setenv("HF_HOME", (root_ / "hf").c_str(), 1);
  const auto main = make_snapshot(hub, "main", "abc123");
  const auto old = make_snapshot(hub, "v1.0", "def456");
  EXPECT_EQ(resolve_model_directory(id_), main);
  EXPECT_EQ(resolve_model_directory(id_, {}, "v1.0"), old);
  EXPECT_EQ(resolve_model_directory(id_, {}, "def456"), old) << "a commit names itself";
  EXPECT_THROW(resolve_model_directory(id_, {}, "v2.0"), MachineError);
}

TEST_F(ModelLocation, TheNearerCacheWins) {
  const auto by_home = make_snapshot(root_ / ".cache/huggingface/hub", "main", "a1");
  const auto by_variable = make_snapshot(root_ / "variable", "main", "b2");
  const auto by_flag = make_snapshot(root_ / "flag", "main", "c3");
  EXPECT_EQ(resolve_model_directory(id_), by_home);
  ::setenv("HF_HUB_CACHE", (root_ / "variable").c_str(), 1);
  EXPECT_EQ(resolve_model_directory(id_), by_variable);
  EXPECT_EQ(resolve_model_directory(id_, (root_ / "flag").string()), by_flag);
}

TEST_F(ModelLocation, ModelScopesCacheIsTheLastResort) {
  const auto here = make_model(root_ / ".cache/modelscope/hub/models/baichuan-inc/Baichuan-13B-Base");
  EXPECT_EQ(resolve_model_directory(id_), here);
  ::setenv("MODELSCOPE_CACHE", (root_ / "ms").c_str(), 1);
  const auto there = make_model(root_ / "ms/hub/baichuan-inc/Baichuan-13B-Base");
  EXPECT_EQ(resolve_model_directory(id_), there);
}

TEST_F(ModelLocation, AModelThatIsNowhereIsAnsweredWithTheCommandThatDownloadsIt) {
  try {
    resolve_model_directory(id_, (root_ / "flag").string(), "v1.0");
    FAIL();
  } catch (const MachineError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr((root_ / "flag").string()), HasSubstr("huggingface/hub"),
                                    HasSubstr("hf download baichuan-inc/Baichuan-13B-Base --revision v1.0")));
  }
}

TEST_F(ModelLocation, APathThatDoesNotExistIsNotTakenForAHubId) {
  try {
    resolve_model_directory("/no/such/model");
    FAIL();
  } catch (const MachineError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("/no/such/model"), HasSubstr("does not exist")));
  }
  EXPECT_THROW(resolve_model_directory(""), UsageError);
}

}  // namespace
}  // namespace baichuan
