// Moments in 8 bits: the blocks of _step/quantised.py, read and written with the same bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "numbers.h"

namespace {

constexpr std::int64_t BLOCK = 64;          // numbers that share an exponent
constexpr std::int64_t BYTES = BLOCK + 1;   // the exponent and a code for each number
constexpr std::int64_t LANES = 16;
constexpr int OCTAVES = 14, LEAST = 7;

struct Quantised { std::uint8_t byte; };

// A block has one hash. A number takes the product of it and of an odd number for its place.
struct Multipliers {
  std::uint32_t of[BLOCK];
  constexpr Multipliers() : of() {
    for (std::int64_t i = 0; i < BLOCK; ++i) of[i] = mix(std::uint32_t(i) + 0xbb67ae85u) | 1;
  }
};
constexpr Multipliers MULTIPLIERS;

template <bool is_signed>
constexpr int CUT = is_signed ? 20 : 19;  // bits of float32 below the last one that a code has

template <bool is_signed>
INLINE float number_of(std::uint32_t code, std::uint32_t c, float offset) {
  const std::uint32_t magnitude = is_signed ? code & 0x7f : code;
  const float x = bit_cast<float>(c + (magnitude << CUT<is_signed>)) - offset;
  return is_signed ? std::copysign(x, bit_cast<float>(code << 24)) : x;
}

template <bool is_signed>
INLINE void read_block(const Quantised* from, float* __restrict to, std::int64_t count) {
  const std::uint32_t c = std::uint32_t(from->byte) << 23;
  const float offset = bit_cast<float>(c);
  std::int64_t i = 0;
  for (; i + LANES <= count; i += LANES)  // without bytes in wide vectors
    for (std::int64_t j = i; j < i + LANES; ++j)
      to[j] = number_of<is_signed>(from[1 + j].byte, c, offset);
  for (; i < count; ++i) to[i] = number_of<is_signed>(from[1 + i].byte, c, offset);
}

// ``largest`` has the bits of the largest magnitude of the block.
template <bool is_signed, bool noisy>
INLINE void write_block(Quantised* __restrict to, const float* __restrict x,
                        const std::uint32_t* __restrict hash, std::int64_t count,
                        std::uint32_t largest) {
  constexpr int cut = CUT<is_signed>;
  if (largest >= INF) {  // the block is nan
    std::memset(to, 0, std::size_t(1 + count));
    to->byte = 255;
    return;
  }
  const std::uint32_t e = std::uint32_t(std::max(int(largest >> 23) - OCTAVES, LEAST));
  const std::uint32_t c = e << 23;
  const float offset = bit_cast<float>(c);
  std::uint32_t codes[BLOCK];
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t bits = bit_cast<std::uint32_t>(std::fabs(x[i]) + offset);
    // m takes the upper bits of the hash and v the lower ones
    const std::uint32_t noise = !noisy      ? 1u << (cut - 1)
                                : is_signed ? hash[i] >> (32 - cut)
                                            : hash[i] & ((1u << cut) - 1);
    const std::uint32_t code = (bits + (noise - c)) >> cut;
    codes[i] = is_signed ? (code & 0x7f) | (bit_cast<std::uint32_t>(x[i]) >> 24 & 0x80) : code;
  }
  to->byte = std::uint8_t(e);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint8_t code = std::uint8_t(codes[i]);
    to[1 + i].byte = is_signed ? code : std::max(code, std::uint8_t(1));  // its root is divided by
  }
}

}  // namespace
