// What the tests of data/ share: the small vocabulary, ../shared/data where it is there, folders that vanish.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "data/tokenizer.h"

namespace baichuan {

namespace fs = std::filesystem;

// 1,150 pieces in Baichuan's layout, made by tools/make_test_vocab.sh.
inline fs::path small_model_path() {
  return fs::path(BAICHUAN_SOURCE_DIR) / "tests/data/dataset/tokenizer.model";
}
inline const Tokenizer& small_tokenizer() {
  static const Tokenizer tokenizer(small_model_path());
  return tokenizer;
}

inline fs::path shared_data() {
  return BAICHUAN_SHARED_DATA;
}
inline fs::path baichuan_model_path() {
  return shared_data() / "baichuan_tokenizer/tokenizer.model";
}
inline const Tokenizer& baichuan_tokenizer() {
  static const Tokenizer tokenizer(baichuan_model_path());
  return tokenizer;
}

#define SKIP_WITHOUT_SHARED_DATA()                                                              \
  do {                                                                                          \
    if (!fs::exists(baichuan_model_path())) GTEST_SKIP() << "needs " << shared_data().string(); \
  } while (false)

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "baichuan-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const fs::path& path() const { return path_; }
  fs::path write(const std::string& name, std::string_view contents) const {
    const fs::path file = path_ / name;
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << contents;
    return file;
  }

 private:
  fs::path path_;
};

// The message of the Error that `call` throws; a failed expectation when it throws none.
template <class Expected = Error, class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Expected& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

inline std::vector<int32_t> ids_of(const Json& list) {
  return list.get<std::vector<int32_t>>();
}

#define EXPECT_CONTAINS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << text

// A tiny generator of its own (SplitMix64), so that fuzzing is the same everywhere.
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(next() % n); }

 private:
  uint64_t state_;
};

}  // namespace baichuan
