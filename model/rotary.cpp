#include "model/rotary.h"

#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/torch.h>

namespace baichuan {

namespace {

constexpr double kBase = 10000;

// Turns one head: the pair (low, high) becomes (low cos - high sin, high cos + low sin).
template <class scalar_t>
void rotate_head(scalar_t* head, const float* cos, const float* sin, float sign, int64_t half) {
  for (int64_t c = 0; c < half; ++c) {
    const float low = static_cast<float>(head[c]);
    const float high = static_cast<float>(head[c + half]);
    const float turn = sign * sin[c];
    head[c] = static_cast<scalar_t>(low * cos[c] - high * turn);
    head[c + half] = static_cast<scalar_t>(high * cos[c] + low * turn);
  }
}

template <class scalar_t>
void rotate_on_cpu(at::Tensor& qkv, const RotaryTable& table, int64_t past, float sign) {
  const int64_t tokens = qkv.size(1);
  const int64_t heads = qkv.size(3);
  const int64_t dim = qkv.size(4);
  auto* const data = qkv.mutable_data_ptr<scalar_t>();
  const auto* const cos = table.cos.const_data_ptr<float>();
  const auto* const sin = table.sin.const_data_ptr<float>();
  at::parallel_for(0, qkv.size(0) * tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t angle = (past + row % tokens) * (dim / 2);
      auto* const first = data + row * 3 * heads * dim;
      for (int64_t h = 0; h < 2 * heads; ++h)  // the heads of q, then those of k
        rotate_head(first + h * dim, cos + angle, sin + angle, sign, dim / 2);
    }
  });
}

void rotate_with_aten(at::Tensor& qkv, const RotaryTable& table, int64_t past, double sign) {
  const int64_t half = qkv.size(4) / 2;
  const auto wide = at::toOpMathType(qkv.scalar_type());
  const auto rows = [&](const at::Tensor& t) {
    return t.narrow(0, past, qkv.size(1)).view({1, qkv.size(1), 1, 1, half}).to(wide);
  };
  const auto cos = rows(table.cos);
  const auto sin = rows(table.sin) * sign;
  auto query_key = qkv.narrow(2, 0, 2);
  const auto low = query_key.narrow(4, 0, half).to(wide);
  const auto high = query_key.narrow(4, half, half).to(wide);
  const auto turned_low = low * cos - high * sin;
  query_key.narrow(4, half, half).copy_(high * cos + low * sin);
  query_key.narrow(4, 0, half).copy_(turned_low);
}

}  // namespace

RotaryTable rotary_table(int64_t positions, int64_t head_dim, at::Device device) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  const auto exponent = at::arange(0, head_dim, 2, options) / static_cast<double>(head_dim);
  const auto frequency = 1.0 / at::pow(kBase, exponent);
  const auto angle = at::outer(at::arange(positions, options), frequency);
  return {angle.cos(), angle.sin()};
}

void rotate_(at::Tensor& qkv, const RotaryTable& table, int64_t past, bool backward) {
  TORCH_CHECK_VALUE(
      qkv.dim() == 5 && qkv.size(2) == 3 && qkv.is_contiguous() && past + qkv.size(1) <= table.cos.size(0),
      "rotate_: expected contiguous [B, T, 3, H, K] with ", past, " + T within the table of ", table.cos.size(0),
      " positions, got ", qkv.sizes());
  const float sign = backward ? -1.0f : 1.0f;
  const auto type = qkv.scalar_type();
  if (qkv.is_cpu() && type == at::kFloat)
    rotate_on_cpu<float>(qkv, table, past, sign);
  else if (qkv.is_cpu() && type == at::kBFloat16)
    rotate_on_cpu<at::BFloat16>(qkv, table, past, sign);
  else if (qkv.is_cpu() && type == at::kHalf)
    rotate_on_cpu<at::Half>(qkv, table, past, sign);
  else
    rotate_with_aten(qkv, table, past, sign);
}

at::Tensor rotate_official(const at::Tensor& x, const RotaryTable& table, int64_t past) {
  const int64_t half = x.size(3) / 2;
  const auto both_halves = [&](const at::Tensor& t) {
    const auto rows = t.narrow(0, past, x.size(1)).to(x.scalar_type());
    return at::cat({rows, rows}, 1).view({1, x.size(1), 1, 2 * half});
  };
  const auto turned = at::cat({-x.narrow(3, half, half), x.narrow(3, 0, half)}, 3);
  return x * both_halves(table.cos) + turned * both_halves(table.sin);
}

}  // namespace baichuan
