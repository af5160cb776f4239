#include "limited_memory.h"

#include "lora/export.h"

namespace baichuan {

void expect_export_within(std::int64_t layers, std::int64_t vocab_size, std::uint64_t limit_bytes) {
  const ScratchDirectory scratch;
  const std::int64_t bytes = save_sparse_base(scratch / "base", layers, vocab_size);
  if (free_disk_bytes(scratch.path()) < static_cast<std::uint64_t>(bytes) + (std::uint64_t{1} << 30))
    GTEST_SKIP() << "needs " << bytes / 1'000'000'000 + 1 << " GB of disk in " << scratch.path();
  const auto matrices = large_adapter(layers);
  save_adapter(scratch / "adapter", adapter_json({{"r", 8}, {"lora_alpha", 32}}), matrices);
  ExportOptions job;
  job.model_directory = scratch / "base";
  job.adapters = {scratch / "adapter"};
  job.output_directory = scratch / "merged";
  {
    const LimitedMemory limit(limit_bytes);
    ASSERT_TRUE(limit.active());
    ASSERT_EQ(export_merged(job).merged, layers);
  }
  const auto merged = CheckpointReader::open(scratch / "merged");
  for (const std::int64_t layer : {std::int64_t{0}, layers - 1}) {
    const auto& a = matrices[static_cast<std::size_t>(2 * layer)].second;
    const auto& b = matrices[static_cast<std::size_t>(2 * layer + 1)].second;
    for (const std::int64_t row : {0, 7000, 15359}) {
      const auto expected = torch::mm(b.narrow(0, row, 1), a).mul_(4).to(at::kBFloat16);
      const auto found = merged.read_rows(fmt::format("model.layers.{}.self_attn.W_pack.weight", layer), row, 1);
      EXPECT_LE(relative_difference(found, expected), 1.0 / 128) << layer << " " << row;
    }
  }
  EXPECT_EQ(merged.read_rows("lm_head.weight", vocab_size - 1, 1).count_nonzero().item<std::int64_t>(), 0);
}

}  // namespace baichuan
