// Numbers: the formats in memory, their conversions, the fused multiply-add, the noise of
// stochastic rounding. Every function gives the same bits on every processor.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#else
#define INLINE inline
#endif
#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
#define HAS_MXCSR 1
#endif

namespace {

struct Float16 { std::uint16_t bits; };
struct BFloat16 { std::uint16_t bits; };

template <class To, class From>
INLINE To bit_cast(From from) {
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

INLINE double load(double x) { return x; }
INLINE float load(float x) { return x; }
INLINE float load(BFloat16 x) { return bit_cast<float>(std::uint32_t(x.bits) << 16); }
INLINE float load(Float16 x) {
  // exponent and mantissa in the places of float32; the bias is 112 too low
  const std::uint32_t shifted = std::uint32_t(x.bits & 0x7fff) << 13;
  const std::uint32_t normal = shifted + (112u << 23);
  const std::uint32_t special = shifted + (224u << 23);  // inf and nan keep an exponent of ones
  // a subnormal m 2^-24 as (2^-14 + m 2^-24) - 2^-14: the processor may flush a float32 subnormal,
  // and none occurs on this way
  const float lifted = bit_cast<float>(shifted + (113u << 23));
  const std::uint32_t subnormal = bit_cast<std::uint32_t>(lifted - bit_cast<float>(113u << 23));
  const std::uint32_t magnitude = shifted >= (0x7c00u << 13)   ? special
                                  : shifted < (0x0400u << 13) ? subnormal
                                                              : normal;
  return bit_cast<float>(magnitude | std::uint32_t(x.bits & 0x8000) << 16);
}

// Round to nearest, ties to even, unless said otherwise.
INLINE void store(double& to, double x) { to = x; }
INLINE void store(float& to, float x) { to = x; }
INLINE void store(Float16& to, float x) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(x), magnitude = bits & 0x7fffffff;
  const std::uint32_t normal = (magnitude - (112u << 23) + 0x0fff + (magnitude >> 13 & 1)) >> 13;
  // below 2^-14 the sum with 1/2 has the wanted mantissa, rounded, in its lowest bits
  const float lifted = bit_cast<float>(magnitude) + 0.5f;
  const std::uint32_t subnormal = bit_cast<std::uint32_t>(lifted) - (126u << 23);
  std::uint32_t half = magnitude < (113u << 23) ? subnormal : normal;
  // 65536 and more are inf; 65520 ... 65535 become inf by rounding
  half = magnitude >= (143u << 23) ? 0x7c00 : half;
  half = magnitude > 0x7f800000 ? 0x7e00 : half;
  to.bits = std::uint16_t(half | (bits >> 16 & 0x8000));
}

INLINE std::uint32_t magnitude_bits(float x) { return bit_cast<std::uint32_t>(x) & 0x7fffffff; }
constexpr std::uint32_t INF = 0x7f800000;  // and what is larger is nan

// Return 32 bits whose upper half is x as bfloat16. Stochastic rounding adds 16 random bits below
// the cut. What is neither inf nor nan needs no check.
template <bool noisy, bool finite>
INLINE std::uint32_t rounded_bits(float x, std::uint32_t noise) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(x), magnitude = magnitude_bits(x);
  const std::uint32_t sum = bits + (noisy ? noise & 0xffff : 0x7fff + (bits >> 16 & 1));
  if (finite) return sum;
  return magnitude > INF ? 0x7fc00000 : magnitude == INF ? bits : sum;
}

// a b + c with one rounding, as in torch's vectors
template <bool has_fma>
INLINE float multiply_add(float a, float b, float c) {
  if (has_fma) return std::fma(a, b, c);
  // The product is exact in double. Where the sum is not, its last bit is made odd: the rounding to
  // float then sees on which side of a tie the exact sum lies.
  const double product = double(a) * b, sum = product + c;
  const double back = sum - product, lost = (product - (sum - back)) + (c - back);
  std::int64_t bits = bit_cast<std::int64_t>(sum);
  const std::int64_t is_even = ~bits & 1;
  // away from 0 or towards it; nan stays
  bits += lost * sum > 0 ? is_even : lost * sum < 0 ? -is_even : 0;
  return float(bit_cast<double>(bits));
}
template <bool has_fma>
INLINE double multiply_add(double a, double b, double c) { return a * b + c; }

constexpr INLINE std::uint32_t mix(std::uint32_t h) {  // the finalizer of MurmurHash3
  h = (h ^ h >> 16) * 0x85ebca6bu;
  h = (h ^ h >> 13) * 0xc2b2ae35u;
  return h ^ h >> 16;
}

// Flushes subnormals while it is in scope. The moments of an unused embedding row decay into them,
// and each would cost a hundred cycles.
class FlushSubnormals {
#if defined(HAS_MXCSR)
  unsigned saved = _mm_getcsr();
 public:
  FlushSubnormals() { _mm_setcsr(saved | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(saved); }
#elif defined(__GNUC__) && defined(__aarch64__)
  std::uint64_t saved;
 public:
  FlushSubnormals() {
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(saved));
    __asm__ __volatile__("msr fpcr, %0" : : "r"(saved | 1u << 24));
  }
  ~FlushSubnormals() { __asm__ __volatile__("msr fpcr, %0" : : "r"(saved)); }
#endif
};

}  // namespace
