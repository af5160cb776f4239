#include <cmath>

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include "core/crc32c.h"
#include "core/philox.h"
#include "model/load_weights.h"

namespace baichuan {

namespace {

constexpr float kTwoPi = 6.28318530717958647692f;

// (0, 1], so that its logarithm is finite.
float open_uniform(uint32_t bits) {
  return (static_cast<float>(bits >> 8) + 1.0f) * 0x1p-24f;
}

// Four normal draws from the 128 bits of a counter. Source: Box and Muller 1958.
std::array<float, 4> normal_draws(uint64_t block, uint32_t stream, PhiloxKey key) {
  const auto bits = philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), stream, 0}, key);
  std::array<float, 4> draws;
  for (std::size_t i = 0; i < 4; i += 2) {
    const float radius = std::sqrt(-2.0f * std::log(open_uniform(bits[i])));
    const float angle = kTwoPi * open_uniform(bits[i + 1]);
    draws[i] = radius * std::cos(angle);
    draws[i + 1] = radius * std::sin(angle);
  }
  return draws;
}

template <class scalar_t>
void fill_normal(scalar_t* data, int64_t count, int64_t first, uint32_t stream, PhiloxKey key, float std) {
  at::parallel_for(0, (count + 3) / 4, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const auto draws = normal_draws(static_cast<uint64_t>(first / 4 + block), stream, key);
      for (int64_t i = 0; i < std::min<int64_t>(4, count - 4 * block); ++i)
        data[4 * block + i] = static_cast<scalar_t>(std * draws[static_cast<std::size_t>(i)]);
    }
  });
}

}  // namespace

void fill_initial_weight(
    at::Tensor& destination, std::string_view name, uint64_t seed, double std, int64_t first_element) {
  if (name.find("norm") != std::string_view::npos) {
    destination.fill_(1);
    return;
  }
  TORCH_CHECK_VALUE(destination.is_contiguous() && first_element % 4 == 0,
                    "fill_initial_weight: expected a contiguous tensor from a multiple of 4 elements on, got ",
                    destination.strides(), " from ", first_element);
  at::Tensor values = destination.is_cpu() ? destination : at::empty_like(destination, at::kCPU);
  const uint32_t stream = crc32c(name.data(), name.size());
  const auto key = philox_key(seed, DrawPurpose::kWeightInit);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, values.scalar_type(), "fill_initial_weight", [&] {
    fill_normal(values.mutable_data_ptr<scalar_t>(), values.numel(), first_element, stream, key,
                static_cast<float>(std));
  });
  if (!destination.is_cpu()) destination.copy_(values);
}

void init_weights(BaichuanForCausalLM& model, uint64_t seed, double std) {
  const at::NoGradGuard no_grad;
  const double width = std < 0 ? model.config().initializer_range : std;
  for (auto& item : model.named_parameters()) {
    at::Tensor values = item.value().detach();
    fill_initial_weight(values, item.key(), seed, width);
  }
}

}  // namespace baichuan
