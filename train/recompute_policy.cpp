#include "train/recompute_policy.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "core/log.h"
#include "model/baichuan_for_causal_lm.h"

namespace baichuan {

namespace {

// MemAvailable of the kernel; a large number where it does not say.
std::int64_t available_memory_bytes() {
  std::ifstream memory("/proc/meminfo");
  for (std::string line; std::getline(memory, line);)
    if (line.starts_with("MemAvailable:")) return std::stoll(line.substr(13)) * 1024;
  return std::int64_t{1} << 60;
}

}  // namespace

std::int64_t activation_bytes_per_token(const BaichuanForCausalLM& model) {
  const auto& config = model.config();
  const auto element = static_cast<std::int64_t>(c10::elementSize(model.compute_dtype()));
  // Hidden-sized: two block inputs, two norm outputs, q k v, attention's output, the residual sum; then gate, up,
  // product.
  return element * (9 * config.hidden_size + 3 * config.intermediate_size);
}

std::int64_t recompute_layers(const std::string& text,
                              bool compat_2023,
                              const BaichuanForCausalLM& model,
                              std::int64_t batch_size,
                              std::int64_t longest) {
  const std::int64_t layers = model.config().num_layers;
  if (text == "all" || (text == "auto" && compat_2023)) return layers;
  if (text == "none") return 0;
  if (text != "auto") return std::min(layers, static_cast<std::int64_t>(std::stoll(text)));
  const std::int64_t per_layer = std::max<std::int64_t>(1, activation_bytes_per_token(model) * batch_size * longest);
  const std::int64_t fitting = available_memory_bytes() / 2 / per_layer;
  const std::int64_t chosen = std::max<std::int64_t>(0, layers - fitting);
  if (chosen > 0) log::info("activations of {} of {} layers are computed again to save memory", chosen, layers);
  return chosen;
}

}  // namespace baichuan
