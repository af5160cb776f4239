#include <algorithm>

#include <ATen/OpMathType.h>
#include <torch/torch.h>

#include "model/alibi.h"
#include "model/attention_kernels.h"

namespace baichuan {

namespace {

// Queries are taken this many at a time under ALiBi, each chunk with the middle of its own keys as the reference of
// the bias: within it biases stay below 512 * slope, where float32 resolves 3e-5. Keys further away than that have a
// coarser bias and, on the steep heads where it would show, no weight.
constexpr int64_t kAlibiChunk = 1024;

// A rectangle of the causal triangle: queries and keys of half-open ranges.
struct Segment {
  int64_t query_begin, query_end;
  int64_t key_begin, key_end;
  bool causal;        // query_begin + i sees key_begin + j for j <= i; else every key
  int64_t reference;  // the key at which ALiBi's bias is 0
};

// The segments of one chunk of queries: the earlier keys, which all of them see, and their own.
std::vector<Segment> segments_of_chunk(int64_t begin, int64_t end, int64_t past) {
  const int64_t own = past + begin;
  const int64_t reference = own + (end - begin) / 2;
  if (end - begin == 1) return {{begin, end, 0, own + 1, false, reference}};
  std::vector<Segment> segments;
  if (own > 0) segments.push_back({begin, end, 0, own, false, reference});
  segments.push_back({begin, end, own, past + end, true, reference});
  return segments;
}

std::vector<std::vector<Segment>> plan(int64_t queries, const Positions& positions) {
  const int64_t chunk = positions.kind == PositionEmbedding::kAlibi ? kAlibiChunk : queries;
  std::vector<std::vector<Segment>> chunks;
  for (int64_t begin = 0; begin < queries; begin += chunk)
    chunks.push_back(segments_of_chunk(begin, std::min(queries, begin + chunk), positions.past));
  return chunks;
}

at::Tensor queries_of(const at::Tensor& x, const Segment& s) {
  return x.narrow(2, s.query_begin, s.query_end - s.query_begin);
}
at::Tensor keys_of(const at::Tensor& x, const Segment& s) {
  return x.narrow(2, s.key_begin, s.key_end - s.key_begin);
}

// The bias of a segment, a [1, H, 1, keys] view that the kernel broadcasts over the queries.
std::optional<at::Tensor> bias_of(const Segment& s, const Positions& positions, at::ScalarType dtype) {
  if (positions.kind != PositionEmbedding::kAlibi) return {};
  const auto row = alibi_row(positions.alibi_table, s.key_begin, s.key_end - s.key_begin, s.reference);
  return dtype == at::kDouble ? row.to(dtype) : row;
}

struct Part {
  at::Tensor out;        // [B, H, T, K]
  at::Tensor logsumexp;  // [B, H, T]
};

Part attend(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segment& s, const Positions& positions) {
  auto [out, logsumexp] =
      at::_scaled_dot_product_flash_attention_for_cpu(queries_of(q, s), keys_of(k, s), keys_of(v, s), /*dropout_p=*/0.0,
                                                      s.causal, bias_of(s, positions, q.scalar_type()));
  return {out, logsumexp};
}

// Softmax over the union of two sets of keys, from the two softmaxes.
Part merge(const Part& a, const Part& b) {
  const auto logsumexp = at::logaddexp(a.logsumexp, b.logsumexp);
  const auto weight = [&](const Part& part) { return (part.logsumexp - logsumexp).exp().unsqueeze(-1); };
  return {a.out * weight(a) + b.out * weight(b), logsumexp};
}

}  // namespace

bool flash_serves_cpu(const at::Tensor& q, const Positions& positions) {
  return q.is_cpu() && positions.mode == AlibiMode::kExact;
}

AttentionResult flash_forward_cpu(const at::Tensor& q,
                                  const at::Tensor& k,
                                  const at::Tensor& v,
                                  const Positions& positions) {
  const auto chunks = plan(q.size(2), positions);
  if (chunks.size() == 1 && chunks[0].size() == 1) {
    const Part whole = attend(q, k, v, chunks[0][0], positions);
    return {whole.out.transpose(1, 2), whole.logsumexp, {}};
  }
  AttentionResult result;
  result.out = at::empty({q.size(0), q.size(2), q.size(1), q.size(3)}, q.options());
  // The kernel's own layout of the sums, [B, T, H] in memory.
  result.logsumexp = at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::toOpMathType(q.scalar_type())))
                         .transpose(1, 2);
  for (const auto& segments : chunks) {
    Part part = attend(q, k, v, segments[0], positions);
    if (segments.size() == 2) part = merge(part, attend(q, k, v, segments[1], positions));
    queries_of(result.out.transpose(1, 2), segments[0]).copy_(part.out);
    queries_of(result.logsumexp, segments[0]).copy_(part.logsumexp);
  }
  return result;
}

void flash_backward_cpu(const at::Tensor& dout,
                        const at::Tensor& q,
                        const at::Tensor& k,
                        const at::Tensor& v,
                        const AttentionResult& result,
                        const Positions& positions,
                        at::Tensor dq,
                        at::Tensor dk,
                        at::Tensor dv) {
  const auto chunks = plan(q.size(2), positions);
  const bool whole = chunks.size() == 1 && chunks[0].size() == 1;
  const auto out = result.out.transpose(1, 2);
  const auto dout_heads = dout.transpose(1, 2);
  // A key's gradient comes from several chunks: summed in float32, rounded once.
  const auto wide = q.options().dtype(at::toOpMathType(q.scalar_type()));
  std::array<at::Tensor, 3> sums;
  if (!whole)
    for (auto& sum : sums) sum = at::zeros(q.sizes(), wide);
  for (const auto& segments : chunks) {
    for (const Segment& s : segments) {
      const auto [q_part, k_part, v_part] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          queries_of(dout_heads, s), queries_of(q, s), keys_of(k, s), keys_of(v, s), queries_of(out, s),
          queries_of(result.logsumexp, s), /*dropout_p=*/0.0, s.causal, bias_of(s, positions, q.scalar_type()));
      if (whole) {
        dq.copy_(q_part);
        dk.copy_(k_part);
        dv.copy_(v_part);
        return;
      }
      queries_of(sums[0], s).add_(q_part);
      keys_of(sums[1], s).add_(k_part);
      keys_of(sums[2], s).add_(v_part);
    }
  }
  dq.copy_(sums[0]);
  dk.copy_(sums[1]);
  dv.copy_(sums[2]);
}

}  // namespace baichuan
