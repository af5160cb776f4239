// A bound on the private writable memory of this process, and large checkpoints that take no disk.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

#include <sys/resource.h>

#include "export_test.h"
#include "io/safetensors_format.h"

namespace baichuan {

// Reserved, not only used: stacks and pools of the process count in full, so this is the stricter measure.
inline std::uint64_t reserved_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmData:")) return std::stoull(line.substr(7)) * 1024;
  return 0;
}

// What does not fit is refused by the system, as std::bad_alloc or c10::Error. File pages do not count.
class LimitedMemory {
 public:
  explicit LimitedMemory(std::uint64_t more_bytes) {
    ::getrlimit(RLIMIT_DATA, &before_);
    rlimit limit = before_;
    limit.rlim_cur = reserved_bytes() + more_bytes;
    active_ = ::setrlimit(RLIMIT_DATA, &limit) == 0;
  }
  ~LimitedMemory() { ::setrlimit(RLIMIT_DATA, &before_); }
  LimitedMemory(const LimitedMemory&) = delete;
  LimitedMemory& operator=(const LimitedMemory&) = delete;
  bool active() const { return active_; }

 private:
  rlimit before_{};
  bool active_ = false;
};

// A base of 13B's shape with fewer layers, all zeros in bfloat16. The data is a hole in the file.
inline std::int64_t save_sparse_base(const fs::path& directory, std::int64_t layers, std::int64_t vocab_size) {
  BaichuanConfig config = preset_config("13b");
  config.num_layers = layers;
  config.vocab_size = vocab_size;
  std::vector<TensorSpec> specs{{"model.embed_tokens.weight", at::kBFloat16, {vocab_size, 5120}}};
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    for (const auto& [name, rows, columns] :
         std::vector<std::tuple<std::string, std::int64_t, std::int64_t>>{{"self_attn.W_pack", 15360, 5120},
                                                                          {"self_attn.o_proj", 5120, 5120},
                                                                          {"mlp.gate_proj", 13696, 5120},
                                                                          {"mlp.up_proj", 13696, 5120},
                                                                          {"mlp.down_proj", 5120, 13696}})
      specs.push_back({prefix + name + ".weight", at::kBFloat16, {rows, columns}});
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"})
      specs.push_back({prefix + norm + ".weight", at::kBFloat16, {5120}});
  }
  specs.push_back({"model.norm.weight", at::kBFloat16, {5120}});
  specs.push_back({"lm_head.weight", at::kBFloat16, {vocab_size, 5120}});
  fs::create_directories(directory);
  write_json_file(directory / "config.json", to_config_json(config, "bfloat16"));
  const std::string header = safetensors_header(specs, {{"format", "pt"}});
  write_file_atomically(directory / "model.safetensors", header);
  std::int64_t bytes = 0;
  for (const auto& spec : specs) bytes += spec.nbytes();
  fs::resize_file(directory / "model.safetensors", header.size() + static_cast<std::uint64_t>(bytes));
  return bytes;
}

inline NamedTensors large_adapter(std::int64_t layers) {
  torch::manual_seed(4);
  NamedTensors tensors;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const std::string module = fmt::format("base_model.model.model.layers.{}.self_attn.W_pack", layer);
    tensors.emplace_back(module + ".lora_A.weight", torch::randn({8, 5120}));
    tensors.emplace_back(module + ".lora_B.weight", torch::randn({15360, 8}));
  }
  return tensors;
}

// Exports such a model under the limit and looks at a few rows of the result.
void expect_export_within(std::int64_t layers, std::int64_t vocab_size, std::uint64_t limit_bytes);

}  // namespace baichuan
