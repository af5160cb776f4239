// Loads every tensor of a checkpoint and prints the sum of all 64-bit words; with --make GB it writes one first.
//
//   load_checkpoint DIR [--make GB]
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "io/checkpoint_reader.h"
#include "io/checkpoint_writer.h"

namespace baichuan {
namespace {

// Matrices of the 13B's widths in bfloat16 until the size is reached, with random bits in the first of each shape.
void make_checkpoint(const fs::path& directory, double gigabytes) {
  std::vector<TensorSpec> specs;
  std::int64_t left = static_cast<std::int64_t>(gigabytes * 1e9);
  for (std::int64_t layer = 0; left > 0; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer);
    specs.push_back({prefix + ".self_attn.W_pack.weight", at::kBFloat16, {15360, 5120}});
    specs.push_back({prefix + ".self_attn.o_proj.weight", at::kBFloat16, {5120, 5120}});
    specs.push_back({prefix + ".input_layernorm.weight", at::kBFloat16, {5120}});
    left -= specs[specs.size() - 3].nbytes() + specs[specs.size() - 2].nbytes() + specs.back().nbytes();
  }
  torch::manual_seed(1);
  const at::Tensor random = torch::randn({15360, 5120}).to(at::kBFloat16);
  CheckpointWriter writer(directory, specs, {});
  for (const auto& spec : specs) {
    const at::Tensor rows = spec.shape.size() == 1 ? random[0] : random.narrow(0, 0, spec.shape[0]);
    writer.write(spec.name, rows);
  }
  writer.finish();
}

std::uint64_t sum_of_words(const at::Tensor& tensor) {
  std::uint64_t total = 0;
  const auto* const words = static_cast<const std::uint64_t*>(tensor.const_data_ptr());
  at::parallel_for(0, static_cast<std::int64_t>(tensor.nbytes() / 8), 1 << 16,
                   [&](std::int64_t begin, std::int64_t end) {
                     std::uint64_t sum = 0;
                     for (std::int64_t k = begin; k < end; ++k) sum += words[k];
                     __atomic_fetch_add(&total, sum, __ATOMIC_RELAXED);
                   });
  return total;
}

// A few tensors at a time, added up while the caches still hold some of them, as the yardstick does.
constexpr std::size_t kGroupBytes = std::size_t{128} << 20;

std::uint64_t load_and_sum(const CheckpointReader& reader, std::vector<ReadRequest>& loaded) {
  std::uint64_t total = 0;
  std::size_t bytes = 0;
  std::size_t first = 0;
  const auto read_group = [&] {
    const auto group = std::span(loaded).subspan(first);
    reader.read_all(group);
    for (const auto& request : group) total += sum_of_words(request.destination);
    first = loaded.size();
    bytes = 0;
  };
  for (const auto& spec : reader.tensors()) {
    loaded.push_back({spec.name, torch::empty(spec.shape, spec.dtype)});
    bytes += loaded.back().destination.nbytes();
    if (bytes >= kGroupBytes) read_group();
  }
  read_group();
  return total;
}

int run(int count, char** arguments) {
  if (count == 4 && std::string(arguments[2]) == "--make") {
    make_checkpoint(arguments[1], std::stod(arguments[3]));
    return 0;
  }
  const auto reader = CheckpointReader::open(arguments[1]);
  std::vector<ReadRequest> tensors;  // all stay resident
  std::printf("%llu\n", static_cast<unsigned long long>(load_and_sum(reader, tensors)));
  return 0;
}

}  // namespace
}  // namespace baichuan

int main(int count, char** arguments) {
  if (count < 2) return 2;
  return baichuan::run(count, arguments);
}
