#include <cmath>

#include <torch/torch.h>

#include "model/alibi.h"
#include "model/attention_kernels.h"

namespace baichuan {

namespace {

// FlashAttention's layout: tokens before heads.
at::Tensor tokens_first(const at::Tensor& x) {
  return x.transpose(1, 2);
}

double softmax_scale(const at::Tensor& q) {
  return 1.0 / std::sqrt(static_cast<double>(q.size(3)));
}

FoldedInputs kernel_inputs(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Positions& positions) {
  return positions.kind == PositionEmbedding::kAlibi ? fold_alibi(q, k, v, positions) : FoldedInputs{q, k, v};
}

}  // namespace

FoldedInputs fold_alibi(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Positions& positions) {
  const auto widened = [](const at::Tensor& x, const at::Tensor& columns) {
    return at::cat({x, columns.expand({x.size(0), x.size(1), x.size(2), kFoldColumns})}, 3);
  };
  const int64_t keys = k.size(2);
  // The middle as the reference halves the largest position, and with it the rounding of the float32 sum.
  const auto key_columns = fold_key_columns(0, keys, keys / 2, k.options());
  const auto query_columns = fold_query_columns(positions.alibi_slopes, q.size(3), q.scalar_type());
  return {widened(q, query_columns.unsqueeze(1)), widened(k, key_columns), widened(v, at::zeros({1}, v.options()))};
}

bool flash_serves_cuda(const at::Tensor& q, const Positions& positions) {
  const bool half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  const int64_t columns = positions.kind == PositionEmbedding::kAlibi ? q.size(3) + kFoldColumns : q.size(3);
  return q.is_cuda() && half && positions.mode == AlibiMode::kExact && q.size(3) % 8 == 0 && columns <= 256;
}

AttentionResult flash_forward_cuda(const at::Tensor& q,
                                   const at::Tensor& k,
                                   const at::Tensor& v,
                                   const Positions& positions) {
  const FoldedInputs in = kernel_inputs(q, k, v, positions);
  // The raw operation aligns the causal mask at the last key, as a cache needs it.
  const auto result = at::_flash_attention_forward(tokens_first(in.q), tokens_first(in.k), tokens_first(in.v), {}, {},
                                                   q.size(2), k.size(2), /*dropout_p=*/0.0, /*is_causal=*/true,
                                                   /*return_debug_mask=*/false, softmax_scale(q));
  const auto out = std::get<0>(result).narrow(3, 0, q.size(3)).contiguous();
  return {out, std::get<1>(result), {std::get<2>(result), std::get<3>(result)}};
}

void flash_backward_cuda(const at::Tensor& dout,
                         const at::Tensor& q,
                         const at::Tensor& k,
                         const at::Tensor& v,
                         const AttentionResult& result,
                         const Positions& positions,
                         at::Tensor dq,
                         at::Tensor dk,
                         at::Tensor dv) {
  const FoldedInputs in = kernel_inputs(q, k, v, positions);
  const int64_t extra = in.q.size(3) - q.size(3);
  const auto padded = [&](const at::Tensor& x) { return extra == 0 ? x : at::constant_pad_nd(x, {0, extra}); };
  const auto grads = at::_flash_attention_backward(padded(dout), tokens_first(in.q), tokens_first(in.k),
                                                   tokens_first(in.v), padded(result.out), result.logsumexp, {}, {},
                                                   q.size(2), k.size(2), /*dropout_p=*/0.0, /*is_causal=*/true,
                                                   result.state.at(0), result.state.at(1), softmax_scale(q));
  const auto cut = [&](const at::Tensor& grad) { return tokens_first(grad.narrow(3, 0, q.size(3))); };
  dq.copy_(cut(std::get<0>(grads)));
  dk.copy_(cut(std::get<1>(grads)));
  dv.copy_(cut(std::get<2>(grads)));
}

}  // namespace baichuan
