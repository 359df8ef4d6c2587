// The DualAdam step on the CPU in one pass over parameter, gradient and state: 28 bytes per float32
// parameter. The interface is plain C: it needs no torch to build. _kernels/library.py loads it,
// tensors.h checks the tensors, stretch.h has the formulas, numbers.h the formats and the noise of
// _step/rounding.py.
// Multiplies and adds are fused where the code says so and nowhere else, and the compiler has no
// other freedom. Every instruction set and every split of the work therefore gives the same bits.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "permuted.h"
#include "stretch.h"
#include "tensors.h"

#if defined(__GNUC__) && defined(__x86_64__)
#define HAS_WIDE 1  // code for AVX2 and AVX-512, chosen when the library runs
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma,prefer-vector-width=512")))
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

// ---- instruction sets ---------------------------------------------------------------------------

template <class P, class S, class C, bool noisy>
void baseline(void* p, const void* g, void* m, void* v, std::int64_t begin, std::int64_t end,
              const Row& row) {
  step_stretch<P, S, C, noisy, HAS_FMA>(p, g, m, v, begin, end, row);
}
#if defined(HAS_WIDE)
template <class P, class S, class C, bool noisy>
AVX2 void avx2(void* p, const void* g, void* m, void* v, std::int64_t begin, std::int64_t end,
               const Row& row) {
  step_stretch<P, S, C, noisy, true>(p, g, m, v, begin, end, row);
}
template <class P, class S, class C, bool noisy>
AVX512 void avx512(void* p, const void* g, void* m, void* v, std::int64_t begin, std::int64_t end,
                   const Row& row) {
  step_stretch<P, S, C, noisy, true>(p, g, m, v, begin, end, row);
}
#endif

enum InstructionSet : std::int32_t { BASELINE = 0, WITH_AVX2 = 1, WITH_AVX512 = 2 };

// The best instruction set of this processor.
InstructionSet best_instruction_set() {
#if defined(HAS_WIDE)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    return WITH_AVX512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return WITH_AVX2;
#endif
  return BASELINE;
}

template <class P, class S, class C, bool noisy>
Stretch for_processor(std::int32_t instruction_set) {
#if defined(HAS_WIDE)
  if (instruction_set == WITH_AVX512) return avx512<P, S, C, noisy>;
  if (instruction_set == WITH_AVX2) return avx2<P, S, C, noisy>;
#endif
  (void)instruction_set;
  return baseline<P, S, C, noisy>;
}

enum Dtype : std::int32_t { FLOAT32 = 0, FLOAT64 = 1, FLOAT16 = 2, BFLOAT16 = 3, QUANTISED = 4 };

template <class P>
Stretch for_state(std::int32_t state, bool noisy, std::int32_t set) {
  if (state == FLOAT32)
    return noisy ? for_processor<P, float, float, true>(set)
                 : for_processor<P, float, float, false>(set);
  if (state == BFLOAT16)
    return noisy ? for_processor<P, BFloat16, float, true>(set)
                 : for_processor<P, BFloat16, float, false>(set);
  if (state == QUANTISED)
    return noisy ? for_processor<P, Quantised, float, true>(set)
                 : for_processor<P, Quantised, float, false>(set);
  return nullptr;
}

Stretch choose(std::int32_t param, std::int32_t state, bool noisy, std::int32_t set) {
  if (param == FLOAT64 && state == FLOAT64)
    return for_processor<double, double, double, false>(set);
  if (param == FLOAT32) return for_state<float>(state, noisy && state != FLOAT32, set);
  if (param == FLOAT16) return for_state<Float16>(state, noisy && state != FLOAT32, set);
  if (param == BFLOAT16) return for_state<BFloat16>(state, noisy, set);
  return nullptr;
}

PermutedStretch choose_permuted(std::int32_t param) {
  if (param == FLOAT32) return step_permuted<float>;
  return param == FLOAT16 ? step_permuted<Float16> : step_permuted<BFloat16>;
}

// ---- all tensors of a group, end to end ---------------------------------------------------------

using Body = void (*)(std::int64_t begin, std::int64_t end, void* context);
using ParallelFor = std::int32_t (*)(std::int64_t begin, std::int64_t end, std::int64_t grain,
                                     Body body, void* context);
constexpr std::int64_t GRAIN = 32768;  // elements below which a thread is not worth waking

// The work is divided between blocks, and a tensor begins with a block of its own: no two threads
// write the same block of moments in 8 bits.
struct Work {
  const std::int64_t* sizes;
  const std::int64_t* ends;  // running sum of the numbers of blocks
  std::int64_t num_tensors;
  void* const* params;
  const void* const* grads;
  void* const* exp_avgs;
  void* const* exp_avg_sqs;
  const Row* rows;
  const Order* orders;
  Stretch stretch;
  PermutedStretch permuted_stretch;
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
    const std::int64_t start = i ? work.ends[i - 1] : 0, stop = std::min(work.ends[i], end);
    if (stop > begin) {
      const std::int64_t first = (begin - start) * BLOCK;
      const std::int64_t last = std::min((stop - start) * BLOCK, work.sizes[i]);
      if (work.orders[i].empty())
        work.stretch(work.params[i], work.grads[i], work.exp_avgs[i], work.exp_avg_sqs[i], first,
                     last, work.rows[i]);
      else
        work.permuted_stretch(work.params[i], work.grads[i], work.exp_avgs[i],
                              work.exp_avg_sqs[i], first, last, work.rows[i], work.orders[i],
                              work.stretch);
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
  std::int32_t param_dtype, state_dtype, step_dtype, stochastic_rounding, instruction_set;
};

// Raise it when the arguments of a function change. _kernels/library.py compares it at loading.
EXPORT std::int32_t dualadam_abi_version() { return 7; }

EXPORT std::int32_t dualadam_instruction_set() { return best_instruction_set(); }

// The columns of params, grads, exp_avgs, exp_avg_sqs and steps stand one after the other. Their
// tensors are replaced by their addresses, and sizes and shapes have what dualadam_step takes. The
// result is that of read_alike; where it is 0, the tables are of no use.
EXPORT std::int32_t dualadam_read_alike(std::int64_t num_rows, void** tensors, std::int64_t* sizes,
                                        Shape* shapes, const Torch* torch,
                                        std::int32_t permuted_with_8_bits) {
  return read_alike(num_rows, tensors, sizes, shapes, *torch, permuted_with_8_bits != 0);
}

// Advance num_tensors parameters, their states and their steps. Returns 0, or an error with nothing
// changed: 1, dtypes without code; 2, a null pointer or a negative size; 3, out of memory; 4, two
// parameters share memory. If parallel_for is null, the calling thread does the work. The shape of
// a parameter matters where its moments are in 8 bits and it does not lie in the order of its
// indices; it has 0 dimensions for all others.
EXPORT std::int32_t dualadam_step(std::int64_t num_tensors, const std::int64_t* sizes,
                                  const Shape* shapes, void* const* params,
                                  const void* const* grads, void* const* exp_avgs,
                                  void* const* exp_avg_sqs,
                                  void* const* steps, const std::int64_t* places,
                                  const Settings* settings, ParallelFor parallel_for) {
  const Settings& s = *settings;
  const Stretch stretch = choose(s.param_dtype, s.state_dtype, s.stochastic_rounding != 0,
                                 std::min<std::int32_t>(s.instruction_set, best_instruction_set()));
  if (!stretch || (s.step_dtype != FLOAT32 && s.step_dtype != FLOAT64)) return 1;
  for (std::int64_t i = 0; i < num_tensors; ++i) {
    const bool addressed = params[i] && grads[i] && exp_avgs[i] && exp_avg_sqs[i];
    if (sizes[i] < 0 || !steps[i] || (sizes[i] && !addressed)) return 2;
  }
  std::vector<Row> rows;
  std::vector<std::int64_t> ends;
  std::vector<Order> orders;
  try {
    if (share_memory(num_tensors, sizes, params, bytes_of(s.param_dtype))) return 4;
    rows.resize(std::size_t(num_tensors));
    ends.resize(std::size_t(num_tensors));
    orders.resize(std::size_t(num_tensors));
    for (std::int64_t i = 0; s.state_dtype == QUANTISED && i < num_tensors; ++i)
      if (shapes[i].dim) orders[std::size_t(i)] = order_of(shapes[i]);
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
    const std::uint32_t seed = mix(std::uint32_t(places[i]) ^ 0x9e3779b9u) + count;
    row.noise_key = mix(seed);
    rows[std::size_t(i)] = row;
    ends[std::size_t(i)] = total += (sizes[i] + BLOCK - 1) / BLOCK;
  }

  Work work{sizes,    ends.data(), num_tensors, params,        grads,
            exp_avgs, exp_avg_sqs, rows.data(), orders.data(), stretch,
            choose_permuted(s.param_dtype)};
  if (!parallel_for || total * BLOCK <= GRAIN) step_range(0, total, &work);
  else parallel_for(0, total, GRAIN / BLOCK, step_range, &work);
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
#if defined(HAS_WIDE)
AVX2 void stream_avx2(std::int64_t begin, std::int64_t end, void* context) {
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
#if defined(HAS_WIDE)
  if (best_instruction_set() >= WITH_AVX2) body = stream_avx2;
#endif
  if (parallel_for) parallel_for(0, n, GRAIN, body, &streams);
  else body(0, n, &streams);
}
