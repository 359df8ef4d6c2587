// The DualAdam step on the CPU in one pass over parameter, gradient and state: 28 bytes per float32
// parameter. The interface is plain C: it needs no torch to build, and _kernels/cpu.py checks the
// tensors. The formulas are those of _step/equations.py, the noise is that of _step/rounding.py.
// Multiplies and adds are fused where the code says so and nowhere else, and the compiler has no
// other freedom. Every instruction set and every split of the work therefore gives the same bits.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define INLINE inline
#define PREFETCH(address)
#endif
#if defined(__GNUC__) && defined(__x86_64__)
#define HAS_AVX2 1
#endif
#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
#define HAS_MXCSR 1
#endif
#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace {

#if defined(__FP_FAST_FMAF)
constexpr bool HAS_FMA = true;  // every processor of the kind that this is compiled for
#else
constexpr bool HAS_FMA = false;
#endif

// ---- numbers ------------------------------------------------------------------------------------

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
INLINE void store(BFloat16& to, float x) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  to.bits = std::uint16_t((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}
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
// Stochastic rounding adds 16 random bits below the cut and drops the rest. Only bfloat16 has it.
template <class T, class C>
INLINE void store_noisy(T& to, C x, std::uint32_t) { store(to, x); }
INLINE void store_noisy(BFloat16& to, float x, std::uint32_t noise) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(x), magnitude = bits & 0x7fffffff;
  const std::uint32_t rounded = bits + (magnitude < 0x7f800000 ? noise & 0xffff : 0);
  to.bits = std::uint16_t(magnitude > 0x7f800000 ? 0x7fc0 : rounded >> 16);
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

INLINE std::uint32_t mix(std::uint32_t h) {  // the finalizer of MurmurHash3
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

// ---- one stretch of one tensor ------------------------------------------------------------------

struct Row {  // the coefficients of one parameter's step, formed in double
  double decay, grad_factor, weight1, beta2, weight2, root, eps, c_adam, c_inv;
  std::uint32_t moments_key, param_key;
};

constexpr std::int64_t BLOCK = 32;    // elements between two rounds of prefetching
constexpr std::size_t AHEAD = 1024;   // bytes

template <class P, class S, class C, bool noisy, bool has_fma>
INLINE void step_elements(P* __restrict p, const P* __restrict g, S* __restrict m,
                          S* __restrict v, std::int64_t first, std::int64_t count,
                          const Row& row) {
  const C decay = C(row.decay), factor = C(row.grad_factor), eps = C(row.eps), root = C(row.root);
  const C beta2 = C(row.beta2), weight2 = C(row.weight2);
  const C c_adam = C(row.c_adam), c_inv = C(row.c_inv);
  const bool small = row.weight1 < 0.5;  // torch's lerp starts from the nearer end
  const C weight1 = C(small ? row.weight1 : row.weight1 - 1);
  for (std::int64_t i = 0; i < count; ++i) {
    const C gi = load(g[i]) * factor, m_old = load(m[i]);
    const C mi = multiply_add<has_fma>(weight1, gi - m_old, small ? m_old : gi);
    const C vi = multiply_add<has_fma>(weight2 * gi, gi, load(v[i]) * beta2);
    const C r = std::sqrt(vi) / root + eps;
    // a part whose coefficient is 0 is left out, so that 0 x inf cannot arise
    C pi = load(p[i]) * decay;
    pi = c_adam != 0 ? pi + (c_adam * mi) / r : pi;
    pi = c_inv != 0 ? multiply_add<has_fma>(c_inv * mi, r, pi) : pi;
    if (noisy) {
      const std::uint32_t index = std::uint32_t(first + i), noise = mix(index + row.moments_key);
      store_noisy(m[i], mi, noise);
      store_noisy(v[i], vi, noise >> 16);
      store_noisy(p[i], pi, mix(index + row.param_key));
    } else {
      store(m[i], mi);
      store(v[i], vi);
      store(p[i], pi);
    }
  }
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
                         std::int64_t begin, std::int64_t end, const Row& row) {
  P* p = static_cast<P*>(params);
  const P* g = static_cast<const P*>(grads);
  S* m = static_cast<S*>(exp_avgs);
  S* v = static_cast<S*>(exp_avg_sqs);
  std::int64_t i = begin;
  for (; i + BLOCK <= end; i += BLOCK) {
    prefetch_block(p + i), prefetch_block(g + i), prefetch_block(m + i), prefetch_block(v + i);
    step_elements<P, S, C, noisy, has_fma>(p + i, g + i, m + i, v + i, i, BLOCK, row);
  }
  step_elements<P, S, C, noisy, has_fma>(p + i, g + i, m + i, v + i, i, end - i, row);
}

using Stretch = void (*)(void* p, const void* g, void* m, void* v, std::int64_t begin,
                         std::int64_t end, const Row& row);

template <class P, class S, class C, bool noisy>
void baseline(void* p, const void* g, void* m, void* v, std::int64_t begin, std::int64_t end,
              const Row& row) {
  step_stretch<P, S, C, noisy, HAS_FMA>(p, g, m, v, begin, end, row);
}
#if defined(HAS_AVX2)
template <class P, class S, class C, bool noisy>
__attribute__((target("avx2,fma"))) void avx2(void* p, const void* g, void* m, void* v,
                                              std::int64_t begin, std::int64_t end,
                                              const Row& row) {
  step_stretch<P, S, C, noisy, true>(p, g, m, v, begin, end, row);
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
bool has_avx2() { return false; }
#endif

template <class P, class S, class C, bool noisy>
Stretch for_processor(bool wide) {
#if defined(HAS_AVX2)
  if (wide) return avx2<P, S, C, noisy>;
#endif
  (void)wide;
  return baseline<P, S, C, noisy>;
}

enum Dtype : std::int32_t { FLOAT32 = 0, FLOAT64 = 1, FLOAT16 = 2, BFLOAT16 = 3 };

template <class P>
Stretch for_state(std::int32_t state, bool noisy, bool wide) {
  if (state == FLOAT32)
    return noisy ? for_processor<P, float, float, true>(wide)
                 : for_processor<P, float, float, false>(wide);
  if (state == BFLOAT16)
    return noisy ? for_processor<P, BFloat16, float, true>(wide)
                 : for_processor<P, BFloat16, float, false>(wide);
  return nullptr;
}

Stretch choose(std::int32_t param, std::int32_t state, bool noisy, bool wide) {
  if (param == FLOAT64 && state == FLOAT64)
    return for_processor<double, double, double, false>(wide);
  if (param == FLOAT32) return for_state<float>(state, noisy && state == BFLOAT16, wide);
  if (param == FLOAT16) return for_state<Float16>(state, noisy && state == BFLOAT16, wide);
  if (param == BFLOAT16) return for_state<BFloat16>(state, noisy, wide);
  return nullptr;
}

// ---- all tensors of a group, end to end ---------------------------------------------------------

using Body = void (*)(std::int64_t begin, std::int64_t end, void* context);
using ParallelFor = std::int32_t (*)(std::int64_t begin, std::int64_t end, std::int64_t grain,
                                     Body body, void* context);
constexpr std::int64_t GRAIN = 32768;  // elements below which a thread is not worth waking

struct Work {
  const std::int64_t* ends;  // running sum of the sizes
  std::int64_t num_tensors;
  void* const* params;
  const void* const* grads;
  void* const* exp_avgs;
  void* const* exp_avg_sqs;
  const Row* rows;
  Stretch stretch;
};

void step_range(std::int64_t begin, std::int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  const FlushSubnormals flush;
  std::int64_t low = 0, high = work.num_tensors;  // the first tensor that ends beyond begin
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (work.ends[middle] > begin) high = middle;
    else low = middle + 1;
  }
  for (std::int64_t i = low; begin < end; ++i) {
    const std::int64_t start = i ? work.ends[i - 1] : 0;
    const std::int64_t stop = work.ends[i] < end ? work.ends[i] : end;
    if (stop > begin) {
      work.stretch(work.params[i], work.grads[i], work.exp_avgs[i], work.exp_avg_sqs[i],
                   begin - start, stop - start, work.rows[i]);
      begin = stop;
    }
  }
}

std::int64_t bytes_of(std::int32_t dtype) {
  return dtype == FLOAT64 ? 8 : dtype == FLOAT32 ? 4 : 2;
}

// Whether two parameters share memory: two threads would then write the same elements.
bool share_memory(std::int64_t num_tensors, const std::int64_t* sizes, void* const* params,
                  std::int64_t bytes) {
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> spans;
  spans.reserve(std::size_t(num_tensors));
  for (std::int64_t i = 0; i < num_tensors; ++i) {
    const std::uintptr_t start = reinterpret_cast<std::uintptr_t>(params[i]);
    if (sizes[i]) spans.emplace_back(start, start + std::uintptr_t(sizes[i] * bytes));
  }
  std::sort(spans.begin(), spans.end());
  for (std::size_t i = 1; i < spans.size(); ++i)
    if (spans[i].first < spans[i - 1].second) return true;
  return false;
}

}  // namespace

struct Settings {
  double lr, beta1, beta2, eps, weight_decay, switch_rate, grad_factor;
  std::int32_t param_dtype, state_dtype, step_dtype, stochastic_rounding, allow_avx2;
};

// Raise it when the arguments of a function change. _kernels/cpu.py compares it before any call.
EXPORT std::int32_t dualadam_abi_version() { return 1; }

EXPORT std::int32_t dualadam_has_avx2() { return has_avx2(); }

// Advance num_tensors parameters, their states and their steps. Returns 0, or an error with nothing
// changed: 1, dtypes without code; 2, a null pointer or a negative size; 3, out of memory; 4, two
// parameters share memory. If parallel_for is null, the calling thread does the work.
EXPORT std::int32_t dualadam_step(std::int64_t num_tensors, const std::int64_t* sizes,
                                  void* const* params, const void* const* grads,
                                  void* const* exp_avgs, void* const* exp_avg_sqs,
                                  void* const* steps, const std::int64_t* places,
                                  const Settings* settings, ParallelFor parallel_for) {
  const Settings& s = *settings;
  const Stretch stretch = choose(s.param_dtype, s.state_dtype, s.stochastic_rounding != 0,
                                 s.allow_avx2 && has_avx2());
  if (!stretch || (s.step_dtype != FLOAT32 && s.step_dtype != FLOAT64)) return 1;
  for (std::int64_t i = 0; i < num_tensors; ++i) {
    const bool addressed = params[i] && grads[i] && exp_avgs[i] && exp_avg_sqs[i];
    if (sizes[i] < 0 || !steps[i] || (sizes[i] && !addressed)) return 2;
  }
  std::vector<Row> rows;
  std::vector<std::int64_t> ends;
  try {
    if (share_memory(num_tensors, sizes, params, bytes_of(s.param_dtype))) return 4;
    rows.resize(std::size_t(num_tensors));
    ends.resize(std::size_t(num_tensors));
  } catch (const std::bad_alloc&) {
    return 3;
  }

  std::int64_t total = 0;
  double last_step = std::numeric_limits<double>::quiet_NaN();
  Row row{};
  row.decay = 1 - s.lr * s.weight_decay;
  row.grad_factor = s.grad_factor;
  row.weight1 = 1 - s.beta1;
  row.beta2 = s.beta2;
  row.weight2 = 1 - s.beta2;
  row.eps = s.eps;
  for (std::int64_t i = 0; i < num_tensors; ++i) {
    const double step = s.step_dtype == FLOAT64 ? *static_cast<double*>(steps[i]) += 1
                                                : *static_cast<float*>(steps[i]) += 1;
    if (step != last_step) {  // most groups have one step for all
      const double to_go = 1 - s.switch_rate * step, alpha = to_go < 1e-9 ? 0 : to_go;
      const double step_size = s.lr / (1 - std::pow(s.beta1, step));
      row.c_adam = -step_size * (1 - alpha);
      row.c_inv = -step_size * alpha;
      row.root = std::sqrt(1 - std::pow(s.beta2, step));
      last_step = step;
    }
    // a step that is no count (nan, or beyond 2^53) has the noise of 0: its cast is undefined
    const bool is_count = step >= 0 && step < 9007199254740992.0;
    const std::uint32_t count = std::uint32_t(is_count ? std::int64_t(step) : 0);
    const std::uint32_t seed = mix(std::uint32_t(places[i]) ^ 0x9e3779b9u) + 2 * count;
    row.moments_key = mix(seed);
    row.param_key = mix(seed + 1);
    rows[std::size_t(i)] = row;
    ends[std::size_t(i)] = total += sizes[i];
  }

  Work work{ends.data(), num_tensors, params, grads, exp_avgs, exp_avg_sqs, rows.data(), stretch};
  if (!parallel_for || total <= GRAIN) step_range(0, total, &work);
  else parallel_for(0, total, GRAIN, step_range, &work);
  return 0;
}

// ---- the machine's limit ------------------------------------------------------------------------

namespace {
struct Streams { const float* a; float *b, *c, *d; };
INLINE void stream_range(std::int64_t begin, std::int64_t end, const Streams& s) {
  const float* __restrict a = s.a;
  float *__restrict b = s.b, *__restrict c = s.c, *__restrict d = s.d;
  std::int64_t i = begin;
  for (; i + BLOCK <= end; i += BLOCK) {
    prefetch_block(a + i), prefetch_block(b + i), prefetch_block(c + i), prefetch_block(d + i);
    for (std::int64_t j = i; j < i + BLOCK; ++j) b[j] += a[j], c[j] += a[j], d[j] += a[j];
  }
  for (; i < end; ++i) b[i] += a[i], c[i] += a[i], d[i] += a[i];
}
void stream_baseline(std::int64_t begin, std::int64_t end, void* context) {
  stream_range(begin, end, *static_cast<Streams*>(context));
}
#if defined(HAS_AVX2)
__attribute__((target("avx2"))) void stream_avx2(std::int64_t begin, std::int64_t end,
                                                 void* context) {
  stream_range(begin, end, *static_cast<Streams*>(context));
}
#endif
}  // namespace

// Read four arrays of n floats and write three of them with the least arithmetic: the limit that
// the memory sets to a step.
EXPORT void dualadam_stream(std::int64_t n, const float* a, float* b, float* c, float* d,
                            ParallelFor parallel_for) {
  Streams streams{a, b, c, d};
  Body body = stream_baseline;
#if defined(HAS_AVX2)
  if (has_avx2()) body = stream_avx2;
#endif
  if (parallel_for) parallel_for(0, n, GRAIN, body, &streams);
  else body(0, n, &streams);
}
