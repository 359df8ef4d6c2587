// The step of one stretch of one tensor. The formulas are those of _step/equations.py.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "numbers.h"
#include "quantised.h"

#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address)
#endif

namespace {

struct Row {  // the coefficients of one parameter's step, formed in double
  double decay, grad_factor, weight1, beta2, weight2, root, eps, c_adam, c_inv;
  std::uint32_t noise_key;
};

constexpr std::int64_t HALF = BLOCK / 2;
constexpr std::size_t AHEAD = 1024;  // bytes

// ---- the arithmetic -----------------------------------------------------------------------------

template <class S, class C>
struct Coefficients {  // a row in the type of the arithmetic
  // Moments in bfloat16 need not give torch's bits. A division is saved there: with r root for r,
  // sqrt(v) / root + eps is sqrt(v) + eps root.
  static constexpr bool folded = sizeof(S) < sizeof(C);
  bool small;  // torch's lerp starts from the nearer end
  C decay, factor, weight1, beta2, weight2, root, eps, c_adam, c_inv;
  std::uint32_t noise_key;

  explicit INLINE Coefficients(const Row& row) : small(row.weight1 < 0.5) {
    decay = C(row.decay);
    factor = C(row.grad_factor);
    weight1 = C(small ? row.weight1 : row.weight1 - 1);
    beta2 = C(row.beta2);
    weight2 = C(row.weight2);
    root = C(row.root);
    eps = C(folded ? row.eps * row.root : row.eps);
    c_adam = C(folded ? row.c_adam * row.root : row.c_adam);
    c_inv = C(folded ? row.c_inv / row.root : row.c_inv);
    noise_key = row.noise_key;
  }
};

template <class C>
struct Element { C p, m, v; };

template <bool has_fma, class S, class C>
INLINE Element<C> advance(C p, C g, C m, C v, const Coefficients<S, C>& c) {
  g *= c.factor;
  m = multiply_add<has_fma>(c.weight1, g - m, c.small ? m : g);
  v = multiply_add<has_fma>(c.weight2 * g, g, v * c.beta2);
  const C r = (c.folded ? std::sqrt(v) : std::sqrt(v) / c.root) + c.eps;
  // a part whose coefficient is 0 is left out, so that 0 x inf cannot arise
  p *= c.decay;
  p = c.c_adam != 0 ? p + (c.c_adam * m) / r : p;
  p = c.c_inv != 0 ? multiply_add<has_fma>(c.c_inv * m, r, p) : p;
  return {p, m, v};
}

// ---- a block of elements ------------------------------------------------------------------------

// One hash of 32 bits serves the three values of an element, in its lower 16 bits: m takes the low
// half, v the upper half, and p a sum of both, in which each half alone decides nothing.
INLINE std::uint32_t m_noise(std::uint32_t hash) { return hash; }
INLINE std::uint32_t v_noise(std::uint32_t hash) { return hash >> 16; }
INLINE std::uint32_t p_noise(std::uint32_t hash) { return (hash * 0x9e370001u) >> 16; }
using Noise = std::uint32_t (*)(std::uint32_t hash);

// What is stored in fewer bits than it is computed in waits here, until the whole block is known to
// be finite: the check for inf and nan costs more than the rounding.
template <class P, class S, class C>
struct Block {
  static constexpr bool narrow_p = sizeof(P) < sizeof(C), narrow_s = sizeof(S) < sizeof(C);
  C p[BLOCK], m[BLOCK], v[BLOCK];
  std::uint32_t hash[BLOCK];
  std::uint32_t largest_p = 0, largest_m = 0, largest_v = 0;  // bits of magnitudes

  INLINE void put(std::int64_t i, const Element<C>& e) {
    if constexpr (narrow_p) {
      p[i] = e.p;
      largest_p = std::max(largest_p, magnitude_bits(e.p));
    }
    if constexpr (narrow_s) {
      m[i] = e.m, v[i] = e.v;
      largest_m = std::max(largest_m, magnitude_bits(e.m));
      largest_v = std::max(largest_v, bit_cast<std::uint32_t>(e.v));  // v is not negative
    }
  }
  INLINE bool is_finite() const { return std::max({largest_p, largest_m, largest_v}) < INF; }
};

template <bool noisy, bool finite, Noise noise>
INLINE void store_values(Float16* __restrict to, const float* x, const std::uint32_t*,
                         std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) store(to[i], x[i]);
}
template <bool noisy, bool finite, Noise noise>
INLINE void store_values(BFloat16* __restrict to, const float* x, const std::uint32_t* hash,
                         std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i)
    to[i].bits = std::uint16_t(rounded_bits<noisy, finite>(x[i], noise(hash[i])) >> 16);
}

template <class P, class S, class C, bool noisy, bool has_fma>
INLINE void step_elements(P* __restrict p, const P* __restrict g, S* __restrict m,
                          S* __restrict v, std::int64_t first, std::int64_t count,
                          const Coefficients<S, C>& row) {
  using Values = Block<P, S, C>;
  Values block;
  for (std::int64_t i = 0; i < count; ++i) {
    const Element<C> e = advance<has_fma>(load(p[i]), load(g[i]), load(m[i]), load(v[i]), row);
    block.put(i, e);
    if constexpr (!Values::narrow_p) store(p[i], e.p);
    if constexpr (!Values::narrow_s) {
      store(m[i], e.m);
      store(v[i], e.v);
    }
    if (noisy) block.hash[i] = mix(std::uint32_t(first + i) + row.noise_key);
  }
  const auto store_block = [&](auto finite) {
    if constexpr (Values::narrow_p)
      store_values<noisy, finite.value, p_noise>(p, block.p, block.hash, count);
    if constexpr (Values::narrow_s) {
      store_values<noisy, finite.value, m_noise>(m, block.m, block.hash, count);
      store_values<noisy, finite.value, v_noise>(v, block.v, block.hash, count);
    }
  };
  if (block.is_finite()) store_block(std::true_type());
  else store_block(std::false_type());
}

// ---- a block of bfloat16 alone ------------------------------------------------------------------

// Two neighbours lie in one word of 32 bits. A block holds the elements with an even index, then
// those with an odd one: neither reading nor storing has to rearrange them.
INLINE std::uint32_t word(const BFloat16* two) {
  std::uint32_t bits;
  std::memcpy(&bits, two, sizeof bits);
  return bits;
}
INLINE float even(std::uint32_t two) { return bit_cast<float>(two << 16); }
INLINE float odd(std::uint32_t two) { return bit_cast<float>(two & 0xffff0000u); }

template <bool noisy, bool finite, Noise noise>
INLINE void store_words(BFloat16* __restrict to, const float* x, const std::uint32_t* hash) {
  for (std::int64_t i = 0; i < HALF; ++i) {
    const std::uint32_t lower = rounded_bits<noisy, finite>(x[i], noise(hash[i]));
    const std::uint32_t upper = rounded_bits<noisy, finite>(x[HALF + i], noise(hash[HALF + i]));
    const std::uint32_t two = lower >> 16 | (upper & 0xffff0000u);
    std::memcpy(to + 2 * i, &two, sizeof two);
  }
}

template <bool noisy, bool has_fma>
INLINE void step_words(BFloat16* __restrict p, const BFloat16* __restrict g,
                       BFloat16* __restrict m, BFloat16* __restrict v, std::int64_t first,
                       const Coefficients<BFloat16, float>& row) {
  Block<BFloat16, BFloat16, float> block;
  for (std::int64_t i = 0; i < HALF; ++i) {
    const std::uint32_t p2 = word(p + 2 * i), g2 = word(g + 2 * i);
    const std::uint32_t m2 = word(m + 2 * i), v2 = word(v + 2 * i);
    block.put(i, advance<has_fma>(even(p2), even(g2), even(m2), even(v2), row));
    block.put(HALF + i, advance<has_fma>(odd(p2), odd(g2), odd(m2), odd(v2), row));
    if (noisy) {
      const std::uint32_t index = std::uint32_t(first + 2 * i);
      block.hash[i] = mix(index + row.noise_key);
      block.hash[HALF + i] = mix(index + 1 + row.noise_key);
    }
  }
  const auto store_block = [&](auto finite) {
    store_words<noisy, finite.value, p_noise>(p, block.p, block.hash);
    store_words<noisy, finite.value, m_noise>(m, block.m, block.hash);
    store_words<noisy, finite.value, v_noise>(v, block.v, block.hash);
  };
  if (block.is_finite()) store_block(std::true_type());
  else store_block(std::false_type());
}

// ---- a block with moments in 8 bits -------------------------------------------------------------

template <class P, bool noisy, bool has_fma>
INLINE void step_quantised(P* __restrict p, const P* __restrict g, Quantised* __restrict m,
                           Quantised* __restrict v, std::int64_t first, std::int64_t count,
                           const Coefficients<Quantised, float>& row) {
  Block<P, Quantised, float> block;
  const std::uint32_t of_block = mix(std::uint32_t(first / BLOCK) + row.noise_key);
  read_block<true>(m, block.m, count);
  read_block<false>(v, block.v, count);
  for (std::int64_t i = 0; i < count; ++i) {
    const Element<float> e =
        advance<has_fma>(load(p[i]), load(g[i]), block.m[i], block.v[i], row);
    block.put(i, e);
    if constexpr (!block.narrow_p) store(p[i], e.p);
    if (noisy) block.hash[i] = of_block * MULTIPLIERS.of[i];
  }
  write_block<true, noisy>(m, block.m, block.hash, count, block.largest_m);
  write_block<false, noisy>(v, block.v, block.hash, count, block.largest_v);
  if constexpr (block.narrow_p) {
    if (block.largest_p < INF) store_values<noisy, true, p_noise>(p, block.p, block.hash, count);
    else store_values<noisy, false, p_noise>(p, block.p, block.hash, count);
  }
}

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
constexpr bool EVEN_IS_LOWER = false;
#else
constexpr bool EVEN_IS_LOWER = true;
#endif

template <class P, class S, class C, bool noisy, bool has_fma>
INLINE void step_block(P* p, const P* g, S* m, S* v, std::int64_t first,
                       const Coefficients<S, C>& row) {
  if constexpr (std::is_same_v<S, Quantised>)
    step_quantised<P, noisy, has_fma>(p, g, m, v, first, BLOCK, row);
  else if constexpr (EVEN_IS_LOWER && std::is_same_v<P, BFloat16> && std::is_same_v<S, BFloat16>)
    step_words<noisy, has_fma>(p, g, m, v, first, row);
  else
    step_elements<P, S, C, noisy, has_fma>(p, g, m, v, first, BLOCK, row);
}

// ---- a stretch ----------------------------------------------------------------------------------

// Where the element i of a moment lies; in 8 bits i is the first one of a block.
template <class S>
INLINE S* at(S* moments, std::int64_t i) {
  return moments + (std::is_same_v<S, Quantised> ? i / BLOCK * BYTES : i);
}

template <class T>
INLINE void prefetch_block(const T* address) {
  const char* bytes = reinterpret_cast<const char*>(address);
  (void)bytes;  // unused where there is no prefetch
  for (std::size_t offset = 0; offset < BLOCK * sizeof(T); offset += 64)
    PREFETCH(bytes + AHEAD + offset);
}

template <class P, class S, class C, bool noisy, bool has_fma>
INLINE void step_stretch(void* params, const void* grads, void* exp_avgs, void* exp_avg_sqs,
                         std::int64_t begin, std::int64_t end, const Row& of_tensor) {
  const Coefficients<S, C> row(of_tensor);
  P* p = static_cast<P*>(params);
  const P* g = static_cast<const P*>(grads);
  S* m = static_cast<S*>(exp_avgs);
  S* v = static_cast<S*>(exp_avg_sqs);
  std::int64_t i = begin;
  for (; i + BLOCK <= end; i += BLOCK) {
    S *const m_i = at(m, i), *const v_i = at(v, i);
    prefetch_block(p + i), prefetch_block(g + i), prefetch_block(m_i), prefetch_block(v_i);
    step_block<P, S, C, noisy, has_fma>(p + i, g + i, m_i, v_i, i, row);
  }
  if constexpr (std::is_same_v<S, Quantised>) {
    if (i < end)
      step_quantised<P, noisy, has_fma>(p + i, g + i, at(m, i), at(v, i), i, end - i, row);
  } else {
    step_elements<P, S, C, noisy, has_fma>(p + i, g + i, m + i, v + i, i, end - i, row);
  }
}

}  // namespace
