// Tensors whose elements do not lie in the order of their indices, such as channels_last ones.
// Moments in 8 bits follow the indices, so these tensors are stepped in copies of so many elements.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "stretch.h"

#if defined(HAS_MXCSR)
#include <emmintrin.h>
#endif

namespace {

struct Shape {  // as torch has it; 0 dimensions stand for a contiguous tensor of any shape
  std::int64_t dim;
  const std::int64_t *sizes, *strides;
};

struct Dimension { std::int64_t size, stride; };
using Order = std::vector<Dimension>;  // the last one is walked first; empty: contiguous

// Dimensions of one element are left out, and two that lie in a row count as one.
inline Order order_of(const Shape& shape) {
  Order order;
  for (std::int64_t i = 0; i < shape.dim; ++i) {
    const Dimension here{shape.sizes[i], shape.strides[i]};
    if (here.size == 1) continue;
    if (!order.empty() && order.back().stride == here.size * here.stride)
      order.back() = {order.back().size * here.size, here.stride};
    else order.push_back(here);
  }
  return order;
}

// Call part(i, place, rows, columns) for the elements first + i ... first + i + rows * columns - 1:
// rows of the last dimension, whole ones where there are several, that begin at place and follow
// each other in the dimension before. There are fewer than 64 dimensions of 2 elements or more.
template <class Part>
INLINE void walk(const Order& order, std::int64_t first, std::int64_t count, Part part) {
  const std::size_t last = order.size() - 1;
  const Dimension inner = order[last], outer = order[last - 1];
  std::int64_t at[64], place = 0, rest = first;
  for (std::size_t d = order.size(); d-- > 0; rest /= order[d].size) {
    at[d] = rest % order[d].size;
    place += at[d] * order[d].stride;
  }
  for (std::int64_t i = 0; i < count;) {
    const std::int64_t columns = std::min(inner.size - at[last], count - i);
    const std::int64_t rows = columns < inner.size
                                  ? 1
                                  : std::min(outer.size - at[last - 1], (count - i) / inner.size);
    part(i, place, rows, columns);
    i += rows * columns;
    place += (rows - 1) * outer.stride + columns * inner.stride;
    at[last - 1] += rows - 1, at[last] += columns;
    for (std::size_t d = last; d > 0 && at[d] == order[d].size; --d) {
      at[d] = 0, place -= order[d].size * order[d].stride;
      ++at[d - 1], place += order[d - 1].stride;
    }
  }
}

// Copy 4 x 4 elements of a matrix whose rows are contiguous to one whose columns are.
template <class P>
INLINE void transpose_4x4(const P* from, std::int64_t from_pitch, P* to, std::int64_t to_pitch) {
#if defined(HAS_MXCSR)
  if constexpr (sizeof(P) == 4) {
    __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + from_pitch);
    __m128 c = _mm_loadu_ps(from + 2 * from_pitch), d = _mm_loadu_ps(from + 3 * from_pitch);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(to, a), _mm_storeu_ps(to + to_pitch, b);
    _mm_storeu_ps(to + 2 * to_pitch, c), _mm_storeu_ps(to + 3 * to_pitch, d);
  } else {
    const auto row = [&](std::int64_t i) {
      return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + i * from_pitch));
    };
    const auto put = [&](std::int64_t i, __m128i four) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to + i * to_pitch), four);
    };
    const __m128i ab = _mm_unpacklo_epi16(row(0), row(1)), cd = _mm_unpacklo_epi16(row(2), row(3));
    const __m128i first = _mm_unpacklo_epi32(ab, cd), second = _mm_unpackhi_epi32(ab, cd);
    put(0, first), put(1, _mm_unpackhi_epi64(first, first));
    put(2, second), put(3, _mm_unpackhi_epi64(second, second));
  }
#else
  for (std::int64_t row = 0; row < 4; ++row)
    for (std::int64_t column = 0; column < 4; ++column)
      to[column * to_pitch + row] = from[row * from_pitch + column];
#endif
}

// Copy a matrix whose rows are contiguous to one whose columns are.
template <class P>
INLINE void transpose(const P* from, std::int64_t from_pitch, P* to, std::int64_t to_pitch,
                      std::int64_t rows, std::int64_t columns) {
  std::int64_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    const P* const source = from + row * from_pitch;
    P* const target = to + row;
    std::int64_t column = 0;
    for (; column + 4 <= columns; column += 4)
      transpose_4x4(source + column, from_pitch, target + column * to_pitch, to_pitch);
    for (; column < columns; ++column)
      for (std::int64_t k = 0; k < 4; ++k)
        target[column * to_pitch + k] = source[column + k * from_pitch];
  }
  for (; row < rows; ++row)
    for (std::int64_t column = 0; column < columns; ++column)
      to[column * to_pitch + row] = from[row * from_pitch + column];
}

using Stretch = void (*)(void* p, const void* g, void* m, void* v, std::int64_t begin,
                         std::int64_t end, const Row& row);
using PermutedStretch = void (*)(void* p, const void* g, void* m, void* v, std::int64_t begin,
                                 std::int64_t end, Row row, const Order& order, Stretch stretch);

// Step the elements begin ... end - 1, counted by their indices; begin is the first of a block.
template <class P>
void step_permuted(void* params, const void* grads, void* exp_avgs, void* exp_avg_sqs,
                   std::int64_t begin, std::int64_t end, Row row, const Order& order,
                   Stretch stretch) {
  constexpr std::int64_t CHUNK = 9 * BLOCK, LINE = 64 / sizeof(P);
  P* const p = static_cast<P*>(params);
  const P* const g = static_cast<const P*>(grads);
  Quantised* const m = static_cast<Quantised*>(exp_avgs);
  Quantised* const v = static_cast<Quantised*>(exp_avg_sqs);
  P p_copy[CHUNK], g_copy[CHUNK];
  const std::uint32_t key = row.noise_key;
  const std::int64_t by_row = order[order.size() - 2].stride, by_column = order.back().stride;
  const bool is_transposed = by_row == 1;  // as channels_last is
  const auto gather = [&](const P* from, P* to, std::int64_t rows, std::int64_t columns) {
    if (is_transposed && rows > 1)
      return transpose(from, by_column, to, columns, columns, rows);
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t column = 0; column < columns; ++column)
        to[row * columns + column] = from[row * by_row + column * by_column];
  };
  const auto scatter = [&](const P* from, P* to, std::int64_t rows, std::int64_t columns) {
    if (is_transposed && rows > 1)
      return transpose(from, columns, to, by_column, rows, columns);
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t column = 0; column < columns; ++column)
        to[row * by_row + column * by_column] = from[row * columns + column];
  };
  for (std::int64_t first = begin; first < end; first += CHUNK) {
    const std::int64_t count = std::min(CHUNK, end - first);
    walk(order, first, count,
         [&](std::int64_t i, std::int64_t place, std::int64_t rows, std::int64_t columns) {
           gather(p + place, p_copy + i, rows, columns);
           gather(g + place, g_copy + i, rows, columns);
         });
    if (is_transposed)  // in short stretches of memory, which the processor does not foresee
      walk(order, first + count, std::min(CHUNK, end - first - count),
           [&](std::int64_t, std::int64_t place, std::int64_t rows, std::int64_t columns) {
             for (std::int64_t column = 0; column < columns; ++column)
               for (std::int64_t row = 0; row < rows; row += LINE) {
                 PREFETCH(p + place + column * by_column + row);
                 PREFETCH(g + place + column * by_column + row);
               }
           });
    row.noise_key = key + std::uint32_t(first / BLOCK);  // the copy counts its blocks from 0
    stretch(p_copy, g_copy, at(m, first), at(v, first), 0, count, row);
    walk(order, first, count,
         [&](std::int64_t i, std::int64_t place, std::int64_t rows, std::int64_t columns) {
           scatter(p_copy + i, p + place, rows, columns);
         });
  }
}

}  // namespace
