#include "kernels/counter_dropout.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <torch/torch.h>

#include "core/philox.h"
#include "kernels/cpu/select.h"
#include "kernels/cuda_plugin.h"

namespace baichuan {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The part of the draw that the whole tensor shares.
cpu::DropoutRow shared_part(const DropoutMask& mask) {
  const auto step = static_cast<std::uint64_t>(mask.step);
  const auto stream = static_cast<std::uint64_t>(mask.stream);
  const PhiloxCounter key = philox4x32({static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32),
                                        static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
                                       philox_key(mask.seed, DrawPurpose::kDropout));
  cpu::DropoutRow row{};
  row.key[0] = key[0];
  row.key[1] = key[1];
  row.threshold = static_cast<std::uint32_t>(std::min(std::llround(mask.p * 4294967296.0), 4294967295LL));
  row.scale = static_cast<float>(1.0 / (1.0 - mask.p));
  return row;
}

bool has_fused_kernel(const at::Tensor& x) {
  return cpu::fused_kernels({&x}) != nullptr || cuda_kernels_for({&x}) != nullptr;
}

// x contiguous [B, T, C], with a fused kernel.
void run_rows(const at::Tensor& y, const at::Tensor& x, const DropoutMask& mask, bool accumulate) {
  const std::int64_t positions = x.size(1);
  const std::int64_t channels = x.size(2);
  const cpu::DropoutRow shared = shared_part(mask);
  const at::Tensor ids = mask.sample_ids.to(x.device()).contiguous();
  if (const auto* const on_gpu = cuda_kernels_for({&x})) {
    on_gpu->dropout(y, x, ids, shared, accumulate);
    return;
  }
  const cpu::RowKernels& kernels = *cpu::fused_kernels({&x});
  const auto* const sample_ids = ids.const_data_ptr<std::int64_t>();
  cpu::for_rows(x.size(0) * positions, channels, [&](std::int64_t first, std::int64_t last) {
    cpu::DropoutRow row = shared;
    for (std::int64_t r = first; r < last; ++r) {
      const auto sample = static_cast<std::uint64_t>(sample_ids[r / positions]);
      row.position = static_cast<std::uint32_t>(r % positions);
      row.sample[0] = static_cast<std::uint32_t>(sample);
      row.sample[1] = static_cast<std::uint32_t>(sample >> 32);
      kernels.dropout(cpu::mutable_row_of(y, r, channels), cpu::row_of(x, r, channels), channels, row, accumulate);
    }
  });
}

at::Tensor apply_mask(const at::Tensor& x, const DropoutMask& mask) {
  if (!has_fused_kernel(x) || x.numel() == 0) return counter_dropout_reference(x, mask);
  const at::Tensor in = x.contiguous();
  const at::Tensor y = at::empty_like(in);
  run_rows(y, in, mask, /*accumulate=*/false);
  return y;
}

class CounterDropoutFunction : public torch::autograd::Function<CounterDropoutFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const DropoutMask& mask) {
    ctx->saved_data["p"] = mask.p;
    ctx->saved_data["seed"] = static_cast<std::int64_t>(mask.seed);
    ctx->saved_data["step"] = mask.step;
    ctx->saved_data["sample_ids"] = mask.sample_ids;
    ctx->saved_data["stream"] = mask.stream;
    return apply_mask(x, mask);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const DropoutMask mask{ctx->saved_data["p"].toDouble(), static_cast<std::uint64_t>(ctx->saved_data["seed"].toInt()),
                           ctx->saved_data["step"].toInt(), ctx->saved_data["sample_ids"].toTensor(),
                           ctx->saved_data["stream"].toInt()};
    return {apply_mask(grads[0], mask), {}};
  }
};

void check(const at::Tensor& x, const DropoutMask& mask) {
  TORCH_CHECK_VALUE(x.dim() == 3, "counter_dropout: x must be [batch, positions, channels], got ", x.sizes());
  TORCH_CHECK_VALUE(mask.p >= 0 && mask.p < 1, "counter_dropout: p must be in [0, 1), got ", mask.p);
  TORCH_CHECK_VALUE(mask.sample_ids.defined() && mask.sample_ids.dim() == 1 && mask.sample_ids.size(0) == x.size(0) &&
                        mask.sample_ids.scalar_type() == at::kLong,
                    "counter_dropout: sample_ids must be int64 [", x.size(0), "], got ",
                    mask.sample_ids.defined() ? c10::str(mask.sample_ids.scalar_type(), mask.sample_ids.sizes())
                                              : std::string("none"));
}

}  // namespace

at::Tensor counter_dropout(const at::Tensor& x, const DropoutMask& mask) {
  if (mask.p == 0) return x;
  check(x, mask);
  if (at::GradMode::is_enabled() && x.requires_grad()) return CounterDropoutFunction::apply(x, mask);
  return apply_mask(x, mask);
}

void add_counter_dropout_(const at::Tensor& to, const at::Tensor& x, const DropoutMask& mask) {
  TORCH_CHECK_VALUE(to.sizes() == x.sizes(), "add_counter_dropout_: shapes must agree, got ", to.sizes(), " and ",
                    x.sizes());
  if (mask.p == 0) {
    to.add_(x);
    return;
  }
  check(x, mask);
  const bool alike = to.scalar_type() == x.scalar_type() && to.device() == x.device() && to.is_contiguous();
  if (alike && has_fused_kernel(x) && x.numel() > 0)
    run_rows(to, x.contiguous(), mask, /*accumulate=*/true);
  else
    to.add_(counter_dropout_reference(x, mask));
}

at::Tensor counter_dropout_reference(const at::Tensor& x, const DropoutMask& mask) {
  const cpu::DropoutRow shared = shared_part(mask);
  const auto longs = x.options().dtype(at::kLong);
  const auto channel = at::arange(x.size(2), longs);
  const auto ids = mask.sample_ids.to(x.device());
  constexpr std::int64_t kLow = 0xFFFFFFFF;
  // 32-bit words in int64: products wrap modulo 2^64, which keeps all their bits.
  std::array<at::Tensor, 4> word = {
      (channel.div(64, "floor") * 16 + channel % 16).expand(x.sizes()),
      at::arange(x.size(1), longs).view({1, -1, 1}).expand(x.sizes()),
      ids.bitwise_and(kLow).view({-1, 1, 1}).expand(x.sizes()),
      at::bitwise_right_shift(ids, 32).bitwise_and(kLow).view({-1, 1, 1}).expand(x.sizes()),
  };
  std::int64_t key0 = shared.key[0];
  std::int64_t key1 = shared.key[1];
  for (int round = 0; round < 10; ++round) {
    const auto p0 = word[0] * std::int64_t{0xD2511F53};
    const auto p1 = word[2] * std::int64_t{0xCD9E8D57};
    word = {
        at::bitwise_right_shift(p1, 32).bitwise_and(kLow).bitwise_xor(word[1]).bitwise_xor(key0), p1.bitwise_and(kLow),
        at::bitwise_right_shift(p0, 32).bitwise_and(kLow).bitwise_xor(word[3]).bitwise_xor(key1), p0.bitwise_and(kLow)};
    key0 = (key0 + 0x9E3779B9) & kLow;
    key1 = (key1 + 0xBB67AE85) & kLow;
  }
  const auto which = (channel.div(16, "floor") % 4).view({1, 1, -1, 1}).expand({x.size(0), x.size(1), -1, 1});
  const auto draw = at::stack({word[0], word[1], word[2], word[3]}, -1).gather(-1, which).squeeze(-1);
  const auto kept = draw.ge(static_cast<std::int64_t>(shared.threshold));
  const auto wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  return at::where(kept, wide * static_cast<double>(shared.scale), at::zeros({}, wide.options())).to(x.scalar_type());
}

}  // namespace baichuan
