// Damaged files, thousands of them, each made from a good one by a fixed seed: opening and reading either works or
// throws CheckpointError; it never crashes, hangs or asks for absurd memory.
#include <random>

#include <torch/torch.h>

#include "core/error.h"
#include "io/checkpoint_reader.h"
#include "io/restricted_unpickler.h"
#include "io_test_files.h"

namespace baichuan {
namespace {

class CheckpointFuzzTest : public IoTest {
 protected:
  // True when the file could be read.
  bool read_everything(const fs::path& file) {
    try {
      const auto reader = CheckpointReader::open(file);
      for (const auto& spec : reader.tensors()) (void)reader.read(spec.name, torch::kFloat32);
      return true;
    } catch (const CheckpointError&) {
      return false;
    }
  }

  void fuzz(const std::string& good, const std::string& name, std::size_t header_bytes, std::uint32_t seed, int cases);
};

// One to four of: another byte, a flipped bit, an extreme number, bytes lost, bytes doubled; or the end lost.
std::string damaged(std::string bytes, std::size_t header_bytes, std::mt19937& random) {
  const auto below = [&](std::size_t limit) { return limit == 0 ? 0 : std::size_t{random()} % limit; };
  const std::size_t changes = 1 + below(4);
  for (std::size_t i = 0; i < changes && !bytes.empty(); ++i) {
    // Mostly where the structure is, and a zip file has it at both ends.
    std::size_t at = below(below(8) == 0 ? bytes.size() : std::min(bytes.size(), header_bytes));
    if (below(3) == 0) at = bytes.size() - 1 - at;
    const std::size_t length = std::min(below(12) + 1, bytes.size() - at);
    switch (below(7)) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 2:
        bytes.replace(at, length, std::string(length, '\xff'));
        break;
      case 3:
        bytes.replace(at, length, std::string(length, '\0'));
        break;
      case 4:
        bytes.erase(at, length);
        break;
      case 5:
        bytes.insert(at, bytes.substr(at, length));
        break;
      default:
        if (below(4) == 0)
          bytes.resize(at);
        else
          bytes[at] = "0123456789.,:[]{}\"-(tRbQuq"[below(25)];
    }
  }
  return bytes;
}

void CheckpointFuzzTest::fuzz(
    const std::string& good, const std::string& name, std::size_t header_bytes, std::uint32_t seed, int cases) {
  std::mt19937 random(seed);
  int readable = 0;
  for (int i = 0; i < cases; ++i) {
    const fs::path file = write(name, damaged(good, header_bytes, random));
    ASSERT_NO_THROW(readable += read_everything(file)) << "case " << i << " of seed " << seed;
  }
  // Damage to the values alone cannot be noticed; if nearly all were readable the damage would be missing its aim.
  EXPECT_LT(readable, cases / 2);
}

TEST_F(CheckpointFuzzTest, SurvivesDamagedSafetensors) {
  fuzz(bytes_of(committed("dtypes.safetensors")), "model.safetensors", 850, 11, 3000);
}

TEST_F(CheckpointFuzzTest, SurvivesDamagedZipFiles) {
  fuzz(bytes_of(committed("dtypes.bin")), "pytorch_model.bin", 1400, 12, 2000);
  fuzz(bytes_of(committed("views.bin")), "pytorch_model.bin", 900, 13, 2000);
}

// The zip file around it is whole, so that all damage meets the unpickler.
TEST_F(CheckpointFuzzTest, SurvivesDamagedPickles) {
  std::string pickle;
  const std::string bytes = bytes_of(committed("views.bin"));
  const auto start = bytes.find("\x80\x02}q");
  pickle = bytes.substr(start, bytes.find("u.PK", start) + 2 - start);
  std::mt19937 random(14);
  int readable = 0;
  constexpr int kCases = 20'000;
  for (int i = 0; i < kCases; ++i) {
    const std::string bad = damaged(pickle, pickle.size(), random);
    try {
      (void)unpickle_state_dict(bad, "pickle");
      ++readable;
    } catch (const CheckpointError&) {
    }
  }
  EXPECT_LT(readable, kCases / 2);
  for (int i = 0; i < 2000; ++i) {
    const fs::path file =
        write("pytorch_model.bin", torch_bytes(damaged(pickle, pickle.size(), random), std::string(96, 'x')));
    ASSERT_NO_THROW(read_everything(file)) << i;
  }
}

TEST_F(CheckpointFuzzTest, SurvivesRandomOperations) {
  std::mt19937 random(15);
  const std::string_view operations =
      "\x80\x02}](t)NKqhruseab.RQcX\x85\x86\x87\x88\x8a\x8c\x93\x94"
      "0012lU";
  for (int i = 0; i < 50'000; ++i) {
    std::string pickle = "\x80\x02";
    for (std::size_t length = random() % 60; length > 0; --length)
      pickle += random() % 4 == 0 ? static_cast<char>(random() % 8) : operations[random() % operations.size()];
    try {
      (void)unpickle_state_dict(pickle + ".", "pickle");
    } catch (const CheckpointError&) {
    }
  }
}

TEST_F(CheckpointFuzzTest, BoundsTheMemoryOfHostilePickles) {
  // Each would need gigabytes if it were believed.
  const auto refuse = [](const std::string& pickle) {
    EXPECT_THROW(unpickle_state_dict(pickle, "pickle"), CheckpointError);
  };
  refuse("\x80\x02" + std::string(5'000'000, '}') + ".");
  refuse("\x80\x02}" + std::string(5'000'000, '\x94') + ".");
  refuse(
      "\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\x7f"
      "a.");
  refuse(
      "\x80\x02X\xff\xff\xff\xff"
      "a.");
}

}  // namespace
}  // namespace baichuan
