// The row kernels, as templates over the element type. Included once by each row_kernels_<isa>.cpp, see simd.h.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/simd.h"

namespace baichuan::cpu {
namespace {

// Long sums are made of partial sums of this many elements: the rounding error grows with the square root of the
// number of additions one accumulator takes.
constexpr std::int64_t kSegment = 1024;

template <class Term>
inline float sum_over(std::int64_t n, const Term& term) {
  Floats total{};
  for (std::int64_t begin = 0; begin < n; begin += kSegment) {
    Floats partial{};
    const std::int64_t end = begin + kSegment < n ? begin + kSegment : n;
    for_each_vector(begin, end, [&](std::int64_t i, auto block) { partial += term(i, block); });
    total += partial;
  }
  return sum_of(total);
}

// Zero in the lanes beyond the end of the row.
inline Floats masked(Floats value, Full) {
  return value;
}
inline Floats masked(Floats value, Part part) {
  for (int lane = static_cast<int>(part.lanes); lane < kLanes; ++lane) value[lane] = 0.0f;
  return value;
}

template <class T>
inline float element_at(const T* row, std::int64_t i) {
  return load(row + i, Part{1})[0];
}

template <class T>
float cross_entropy(void* logits, std::int64_t n, std::int64_t label, float scale, bool write_gradient) {
  constexpr bool kKeepsExponentials = sizeof(T) == sizeof(float);  // 16-bit storage would round them
  T* const row = static_cast<T*>(logits);
  Floats largest = broadcast(-__builtin_inff());
  for_each_vector(0, n, [&](std::int64_t i, auto block) {
    Floats x = load(row + i, block);
    for (int lane = static_cast<int>(block.count()); lane < kLanes; ++lane) x[lane] = -__builtin_inff();
    largest = maximum(x, largest);
  });
  const float top = largest_of(largest);
  const float of_label = element_at(row, label) - top;
  const float sum = sum_over(n, [&](std::int64_t i, auto block) {
    const Floats e = masked(exponential(load(row + i, block) - top), block);
    if (kKeepsExponentials && write_gradient) store(row + i, e, block);
    return e;
  });
  if (write_gradient) {
    const float factor = scale / sum;
    for_each_vector(0, n, [&](std::int64_t i, auto block) {
      const Floats x = load(row + i, block);
      store(row + i, (kKeepsExponentials ? x : exponential(x - top)) * factor, block);
    });
    const float gradient_of_label = exponential(broadcast(of_label))[0] * factor - scale;
    store(row + label, broadcast(gradient_of_label), Part{1});
  }
  return __builtin_logf(sum) - of_label;
}

template <class T>
float rms_norm(void* y, const void* x, const void* weight, std::int64_t n, float eps) {
  const T* const in = static_cast<const T*>(x);
  const T* const w = static_cast<const T*>(weight);
  T* const out = static_cast<T*>(y);
  const float sum = sum_over(n, [&](std::int64_t i, auto block) {
    const Floats v = load(in + i, block);
    return v * v;
  });
  const float rstd = 1.0f / __builtin_sqrtf(sum / static_cast<float>(n) + eps);
  for_each_vector(0, n, [&](std::int64_t i, auto block) {
    store(out + i, round_to<T>(load(in + i, block) * rstd) * load(w + i, block), block);
  });
  return rstd;
}

template <class T>
void rms_norm_backward(
    void* dx, float* dweight, const void* dy, const void* x, const void* weight, std::int64_t n, float rstd) {
  const T* const in = static_cast<const T*>(x);
  const T* const w = static_cast<const T*>(weight);
  const T* const dout = static_cast<const T*>(dy);
  if (dx != nullptr) {
    const float sum = sum_over(n, [&](std::int64_t i, auto block) {
      return load(dout + i, block) * load(w + i, block) * load(in + i, block);
    });
    const float along = sum / static_cast<float>(n) * rstd * rstd;  // mean(dy w xhat) * rstd, as x = xhat / rstd
    T* const din = static_cast<T*>(dx);
    for_each_vector(0, n, [&](std::int64_t i, auto block) {
      const Floats g = load(dout + i, block) * load(w + i, block);
      store(din + i, (g - load(in + i, block) * along) * rstd, block);
    });
  }
  if (dweight != nullptr) {
    for_each_vector(0, n, [&](std::int64_t i, auto block) {
      const Floats normalised = round_to<T>(load(in + i, block) * rstd);
      store(dweight + i, load(dweight + i, block) + load(dout + i, block) * normalised, block);
    });
  }
}

template <class T>
void swiglu(void* y, const void* gate, const void* up, std::int64_t n) {
  const T* const g = static_cast<const T*>(gate);
  const T* const u = static_cast<const T*>(up);
  T* const out = static_cast<T*>(y);
  for_each_vector(0, n, [&](std::int64_t i, auto block) {
    const Floats x = load(g + i, block);
    store(out + i, round_to<T>(x * sigmoid(x)) * load(u + i, block), block);
  });
}

template <class T>
void swiglu_backward(void* dgate, void* dup, const void* dy, const void* gate, const void* up, std::int64_t n) {
  const T* const g = static_cast<const T*>(gate);
  const T* const u = static_cast<const T*>(up);
  const T* const dout = static_cast<const T*>(dy);
  T* const dg = static_cast<T*>(dgate);
  T* const du = static_cast<T*>(dup);
  for_each_vector(0, n, [&](std::int64_t i, auto block) {
    const Floats x = load(g + i, block);
    const Floats s = sigmoid(x);
    const Floats d = load(dout + i, block);
    const Floats slope = s * (1.0f + x * (1.0f - s));
    store(dg + i, d * load(u + i, block) * slope, block);
    store(du + i, d * round_to<T>(x * s), block);
  });
}

// Channel c takes word (c / 16) % 4 of the block with counter c / 64 * 16 + c % 16: 16 counters side by side give 64
// neighbouring channels without a shuffle, for every vector width up to 16.
template <class T>
void dropout(void* y, const void* x, std::int64_t n, const DropoutRow& row, bool accumulate) {
  const T* const in = static_cast<const T*>(x);
  T* const out = static_cast<T*>(y);
  Words lane_index;
  for (int lane = 0; lane < kLanes; ++lane) lane_index[lane] = static_cast<std::uint32_t>(lane);
  const auto apply = [&](std::int64_t i, Words draw, auto block) {
    const Floats kept = draw < row.threshold ? Floats{} : load(in + i, block) * row.scale;
    store(out + i, accumulate ? load(out + i, block) + kept : kept, block);
  };
  for (std::int64_t group = 0; group < n; group += 64) {
    for (int column = 0; column < 16; column += kLanes) {
      const auto first = static_cast<std::uint32_t>(group / 4 + column);
      const PhiloxBlock draws = philox({{lane_index + first, broadcast_word(row.position),
                                         broadcast_word(row.sample[0]), broadcast_word(row.sample[1])}},
                                       row.key[0], row.key[1]);
      for (int word = 0; word < 4; ++word) {
        const std::int64_t i = group + 16 * word + column;
        if (i + kLanes <= n)
          apply(i, draws.word[word], Full{});
        else if (i < n)
          apply(i, draws.word[word], Part{static_cast<std::size_t>(n - i)});
      }
    }
  }
}

template <class T>
constexpr RowKernels kernels_of() {
  return {&cross_entropy<T>, &rms_norm<T>, &rms_norm_backward<T>, &swiglu<T>, &swiglu_backward<T>, &dropout<T>};
}

constexpr RowKernels kTable[] = {kernels_of<float>(), kernels_of<BFloat16>(), kernels_of<Half>()};

}  // namespace
}  // namespace baichuan::cpu
