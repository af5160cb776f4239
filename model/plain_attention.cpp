#include <algorithm>
#include <limits>

#include <ATen/OpMathType.h>
#include <torch/torch.h>

#include "model/attention_kernels.h"

namespace baichuan {

namespace {

// Scores held at a time: 4 M elements, 16 MB in float32.
constexpr int64_t kMostScores = 4 << 20;

int64_t chunk_of(const at::Tensor& q, const at::Tensor& k) {
  return std::max<int64_t>(1, kMostScores / (q.size(0) * q.size(1) * k.size(2)));
}

double lowest(at::ScalarType type) {
  if (type == at::kBFloat16) return static_cast<double>(std::numeric_limits<at::BFloat16>::lowest());
  if (type == at::kHalf) return static_cast<double>(std::numeric_limits<at::Half>::lowest());
  return type == at::kDouble ? std::numeric_limits<double>::lowest() : std::numeric_limits<float>::lowest();
}

// True where query first + t may not see key j, [T, S].
at::Tensor hidden_keys(int64_t first, int64_t queries, int64_t keys, at::Device device) {
  const auto options = at::TensorOptions().dtype(at::kLong).device(device);
  return at::arange(keys, options).unsqueeze(0) > at::arange(first, first + queries, options).unsqueeze(1);
}

// slope[h] * j, [H, 1, S] float32.
at::Tensor absolute_bias(const Positions& positions, int64_t keys) {
  const auto j = at::arange(keys, positions.alibi_slopes.options());
  return (positions.alibi_slopes.unsqueeze(1) * j).unsqueeze(1);
}

// The published classes, operation by operation, each rounding to the model's dtype where theirs rounds.
at::Tensor official_weights(const at::Tensor& q, const at::Tensor& k, int64_t first, const Positions& positions) {
  const auto type = q.scalar_type();
  const auto hidden = hidden_keys(first, q.size(2), k.size(2), q.device());
  auto scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
  if (positions.kind == PositionEmbedding::kAlibi) {
    const auto bias =
        absolute_bias(positions, k.size(2)).to(type).masked_fill(hidden, -std::numeric_limits<double>::infinity());
    return at::softmax((scores + bias).clamp_min(lowest(type)), -1);
  }
  const auto mask = at::zeros_like(hidden, q.options()).masked_fill(hidden, lowest(type));
  return at::softmax((scores + mask).clamp_min(lowest(type)), -1, at::kFloat).to(type);
}

at::Tensor exact_weights(const at::Tensor& q, const at::Tensor& k, int64_t first, const Positions& positions) {
  const auto wide = at::toOpMathType(q.scalar_type());
  auto scores = at::matmul(q.to(wide), k.to(wide).transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
  if (positions.kind == PositionEmbedding::kAlibi) {
    const int64_t span = positions.alibi_table.size(1) / 2;
    const int64_t reference = first + q.size(2) / 2;
    scores = scores + positions.alibi_table.narrow(1, span - reference, k.size(2)).unsqueeze(1);
  }
  const auto hidden = hidden_keys(first, q.size(2), k.size(2), q.device());
  return at::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1).to(q.scalar_type());
}

// Queries q [B, H, C, K], the first of which is key `first` of the sequence -> [B, H, C, K]
at::Tensor attend_chunk(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t first, const Positions& positions) {
  const auto weights = positions.mode == AlibiMode::kOfficial ? official_weights(q, k, first, positions)
                                                              : exact_weights(q, k, first, positions);
  return at::matmul(weights, v);
}

}  // namespace

AttentionResult plain_forward(const at::Tensor& q,
                              const at::Tensor& k,
                              const at::Tensor& v,
                              const Positions& positions) {
  AttentionResult result;
  result.out = at::empty({q.size(0), q.size(2), q.size(1), q.size(3)}, q.options());
  auto out = result.out.transpose(1, 2);
  const int64_t chunk = chunk_of(q, k);
  for (int64_t begin = 0; begin < q.size(2); begin += chunk) {
    const int64_t count = std::min(chunk, q.size(2) - begin);
    const int64_t keys = positions.past + begin + count;
    out.narrow(2, begin, count)
        .copy_(attend_chunk(q.narrow(2, begin, count), k.narrow(2, 0, keys), v.narrow(2, 0, keys),
                            positions.past + begin, positions));
  }
  return result;
}

void plain_backward(const at::Tensor& dout,
                    const at::Tensor& q,
                    const at::Tensor& k,
                    const at::Tensor& v,
                    const Positions& positions,
                    at::Tensor dq,
                    at::Tensor dk,
                    at::Tensor dv) {
  // Each chunk is computed again under autograd, so that only one chunk's scores exist at a time.
  const auto wide = q.options().dtype(at::toOpMathType(q.scalar_type()));
  const auto dk_sum = at::zeros(k.sizes(), wide);
  const auto dv_sum = at::zeros(v.sizes(), wide);
  const int64_t chunk = chunk_of(q, k);
  for (int64_t begin = 0; begin < q.size(2); begin += chunk) {
    const int64_t count = std::min(chunk, q.size(2) - begin);
    const auto leaf = [](const at::Tensor& x) { return x.detach().requires_grad_(true); };
    const auto q_part = leaf(q.narrow(2, begin, count));
    const auto k_part = leaf(k.narrow(2, 0, begin + count));
    const auto v_part = leaf(v.narrow(2, 0, begin + count));
    at::Tensor out;
    {
      const at::AutoGradMode with_gradients(true);
      out = attend_chunk(q_part, k_part, v_part, begin, positions);
    }
    const auto grads =
        torch::autograd::grad({out}, {q_part, k_part, v_part}, {dout.transpose(1, 2).narrow(2, begin, count)});
    dq.narrow(2, begin, count).copy_(grads[0]);
    dk_sum.narrow(2, 0, begin + count).add_(grads[1]);
    dv_sum.narrow(2, 0, begin + count).add_(grads[2]);
  }
  dk.copy_(dk_sum);
  dv.copy_(dv_sum);
}

}  // namespace baichuan
