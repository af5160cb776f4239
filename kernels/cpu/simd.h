// Vectors as wide as the including file is compiled for (16, 8 or 4 lanes of float32), in GCC's vector extensions:
// one source for every instruction set. Only row_kernels_<isa>.cpp may include this. Everything sits in an unnamed
// namespace, and nothing inline of the standard library is used, because the linker would merge same-named functions
// of files compiled for different processors.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace baichuan::cpu {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef std::uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef std::uint64_t Longs __attribute__((vector_size(8 * kLanes)));
typedef std::uint16_t Shorts __attribute__((vector_size(2 * kLanes)));

inline Floats broadcast(float value) {
  return Floats{} + value;
}
inline Words broadcast_word(std::uint32_t value) {
  return Words{} + value;
}

// ---- element types -------------------------------------------------------------------------------------------

struct BFloat16 {
  std::uint16_t bits;
};
struct Half {
  std::uint16_t bits;
};

// Raw is a vector of stored elements; decode and encode convert to and from float32, rounding to nearest even.
template <class T>
struct Codec;

template <>
struct Codec<float> {
  using Raw = Floats;
  static Floats decode(Raw raw) { return raw; }
  static Raw encode(Floats value) { return value; }
};

template <>
struct Codec<BFloat16> {
  using Raw = Shorts;
  static Floats decode(Raw raw) { return reinterpret_cast<Floats>(__builtin_convertvector(raw, Words) << 16); }
  static Raw encode(Floats value) {
    const Words bits = reinterpret_cast<Words>(value);
    const Words rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    const Words quiet_nan = broadcast_word(0x7FC0u);
    return __builtin_convertvector(value != value ? quiet_nan : rounded, Shorts);
  }
};

template <>
struct Codec<Half> {
  using Raw = Shorts;
#if defined(__AVX512F__)
  static Floats decode(Raw raw) {
    return reinterpret_cast<Floats>(_mm512_cvtph_ps(reinterpret_cast<__m256i>(raw)));
  }
  static Raw encode(Floats value) {
    return reinterpret_cast<Raw>(
        _mm512_cvtps_ph(reinterpret_cast<__m512>(value), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
#elif defined(__F16C__)
  static Floats decode(Raw raw) {
    return reinterpret_cast<Floats>(_mm256_cvtph_ps(reinterpret_cast<__m128i>(raw)));
  }
  static Raw encode(Floats value) {
    return reinterpret_cast<Raw>(_mm256_cvtps_ph(reinterpret_cast<__m256>(value), _MM_FROUND_TO_NEAREST_INT));
  }
#else
  static Floats decode(Raw raw) {
    Floats value;
    for (int lane = 0; lane < kLanes; ++lane) {
      const std::uint16_t bits = raw[lane];
      _Float16 half;
      std::memcpy(&half, &bits, sizeof(half));
      value[lane] = static_cast<float>(half);
    }
    return value;
  }
  static Raw encode(Floats value) {
    Raw raw;
    for (int lane = 0; lane < kLanes; ++lane) {
      const auto half = static_cast<_Float16>(value[lane]);
      std::uint16_t bits;
      std::memcpy(&bits, &half, sizeof(bits));
      raw[lane] = bits;
    }
    return raw;
  }
#endif
};

// How many lanes of a vector lie inside the row: all of them, or the rest at its end.
struct Full {
  static constexpr std::size_t count() { return kLanes; }
};
struct Part {
  std::size_t lanes;
  std::size_t count() const { return lanes; }
};

template <class T, class Block>
Floats load(const T* from, Block block) {
  typename Codec<T>::Raw raw{};
  std::memcpy(&raw, from, block.count() * sizeof(T));
  return Codec<T>::decode(raw);
}

template <class T, class Block>
void store(T* to, Floats value, Block block) {
  const auto raw = Codec<T>::encode(value);
  std::memcpy(to, &raw, block.count() * sizeof(T));
}

template <class T>
Floats round_to(Floats value) {
  return Codec<T>::decode(Codec<T>::encode(value));
}

// Calls body(index, block) over begin … end - 1 in steps of a vector.
template <class Body>
inline void for_each_vector(std::int64_t begin, std::int64_t end, const Body& body) {
  std::int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(i, Full{});
  if (i < end) body(i, Part{static_cast<std::size_t>(end - i)});
}

// ---- arithmetic ----------------------------------------------------------------------------------------------

inline Floats maximum(Floats a, Floats b) {
  return a > b ? a : b;
}

inline float sum_of(Floats value) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) value[lane] += value[lane + width];
  return value[0];
}

inline float largest_of(Floats value) {
  float largest = value[0];
  for (int lane = 1; lane < kLanes; ++lane) largest = value[lane] > largest ? value[lane] : largest;
  return largest;
}

// e^x for x <= 87, with a relative error of about 1e-7; 0 below -87 (where float32 turns subnormal), NaN for NaN.
// x = n ln 2 + r with |r| <= ln(2) / 2; e^r by its Taylor polynomial of degree 7 (remainder 6e-9).
inline Floats exponential(Floats x) {
  const Floats rounder = broadcast(12582912.0f);  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const Floats shifted = x * 1.44269504089f + rounder;
  const Floats n = shifted - rounder;
  const Floats r = x - n * 0.693145751953125f - n * 1.42860682030941723e-6f;
  Floats p = broadcast(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Words exponent = (reinterpret_cast<Words>(shifted) - reinterpret_cast<Words>(rounder) + 127u) << 23;
  return x < -87.0f ? Floats{} : p * reinterpret_cast<Floats>(exponent);
}

inline Floats sigmoid(Floats x) {
  const Floats bounded = x < -87.0f ? broadcast(-87.0f) : x;
  const Floats e = exponential(-bounded);
  return 1.0f / (1.0f + e);
}

// ---- Philox4x32-10, one counter a lane (see core/philox.h) ------------------------------------------------------

struct WideProduct {
  Words high;
  Words low;
};

inline WideProduct multiply_wide(Words a, std::uint32_t factor) {
#if defined(__AVX512F__)
  const __m512i x = reinterpret_cast<__m512i>(a);
  const __m512i f = _mm512_set1_epi32(static_cast<int>(factor));
  const __m512i even = _mm512_mul_epu32(x, f);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), f);
  return {reinterpret_cast<Words>(_mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xAAAA, odd)),
          reinterpret_cast<Words>(_mm512_mask_mov_epi32(even, 0xAAAA, _mm512_slli_epi64(odd, 32)))};
#elif defined(__AVX2__)
  const __m256i x = reinterpret_cast<__m256i>(a);
  const __m256i f = _mm256_set1_epi32(static_cast<int>(factor));
  const __m256i even = _mm256_mul_epu32(x, f);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), f);
  return {reinterpret_cast<Words>(_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA)),
          reinterpret_cast<Words>(_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA))};
#else
  const Longs product = __builtin_convertvector(a, Longs) * static_cast<std::uint64_t>(factor);
  return {__builtin_convertvector(product >> 32, Words), __builtin_convertvector(product, Words)};
#endif
}

struct PhiloxBlock {
  Words word[4];
};

inline PhiloxBlock philox(PhiloxBlock counter, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const WideProduct p0 = multiply_wide(counter.word[0], 0xD2511F53u);
    const WideProduct p1 = multiply_wide(counter.word[2], 0xCD9E8D57u);
    counter = {{p1.high ^ counter.word[1] ^ key0, p1.low, p0.high ^ counter.word[3] ^ key1, p0.low}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

}  // namespace
}  // namespace baichuan::cpu
