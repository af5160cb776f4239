// The promise in full: a checkpoint of 13,264,901,120 parameters in bfloat16, every one of them random, is merged with
// an adapter and converted, each in 2 GB of memory. Takes 55 GB of disk in TMPDIR.
#include "limited_memory.h"
#include "lora/export.h"
#include "model/initial_checkpoint.h"

namespace baichuan {
namespace {

constexpr std::int64_t kParameters = 13'264'901'120;
constexpr std::uint64_t kDiskBytes = 55'000'000'000;
constexpr std::uint64_t kMemoryBytes = 2'000'000'000;
constexpr std::int64_t kLayers = 40;
constexpr const char* kFirst = "model.layers.0.self_attn.W_pack.weight";

std::int64_t elements_of(const CheckpointReader& reader) {
  std::int64_t elements = 0;
  for (const auto& spec : reader.tensors()) elements += spec.numel();
  return elements;
}

// W + 4 B A in float32, rounded once.
void expect_merged_rows(const CheckpointReader& base, const CheckpointReader& merged, const NamedTensors& matrices) {
  for (const std::int64_t row : {0, 7000, 15359}) {
    const auto delta = torch::mm(matrices[1].second.narrow(0, row, 1), matrices[0].second).mul_(4);
    const auto expected = (base.read_rows(kFirst, row, 1, at::kFloat) + delta).to(at::kBFloat16);
    EXPECT_LE(relative_difference(merged.read_rows(kFirst, row, 1), expected), 1.0 / 128) << row;
  }
  constexpr const char* kUntouched = "lm_head.weight";
  EXPECT_TRUE(torch::equal(merged.read_rows(kUntouched, 63990, 10), base.read_rows(kUntouched, 63990, 10)));
}

TEST(ExportHuge, MergesAndConvertsThe13BInTwoGigabytes) {
  const ScratchDirectory scratch;
  if (free_disk_bytes(scratch.path()) < kDiskBytes)
    GTEST_SKIP() << "needs 55 GB of disk in " << scratch.path() << "; set TMPDIR";
  const auto config = preset_config("13b");
  const auto matrices = large_adapter(kLayers);
  save_adapter(scratch / "adapter", adapter_json({{"r", 8}, {"lora_alpha", 32}}), matrices);
  const LimitedMemory limit(kMemoryBytes);
  ASSERT_TRUE(limit.active());
  ASSERT_TRUE(write_initial_checkpoint(config, at::kBFloat16, /*seed=*/1, scratch / "base", {}));
  const auto base = CheckpointReader::open(scratch / "base");
  ASSERT_EQ(elements_of(base), kParameters);

  ExportOptions job;
  job.model_directory = scratch / "base";
  job.adapters = {scratch / "adapter"};
  job.output_directory = scratch / "merged";
  ASSERT_EQ(export_merged(job).merged, kLayers);
  {
    // Gone before its files are removed: an open file keeps its space.
    const auto merged = CheckpointReader::open(scratch / "merged");
    EXPECT_EQ(elements_of(merged), kParameters);
    expect_merged_rows(base, merged, matrices);
  }
  fs::remove_all(scratch / "merged");

  job.adapters.clear();
  job.output_directory = scratch / "converted";
  job.dtype = at::kHalf;
  job.writing.format = CheckpointFormat::kBin;
  ASSERT_TRUE(export_merged(job).complete);
  const auto converted = CheckpointReader::open(scratch / "converted");
  EXPECT_EQ(elements_of(converted), kParameters);
  EXPECT_TRUE(torch::equal(converted.read_rows(kFirst, 100, 4), base.read_rows(kFirst, 100, 4).to(at::kHalf)));
}

}  // namespace
}  // namespace baichuan
