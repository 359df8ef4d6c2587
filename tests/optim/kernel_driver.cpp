// Steps fixed inputs in every dtype and prints a hash of the results: processors must agree on it.
// The one argument is the best instruction set that may be used, a number.

#include <cstdio>
#include <cstdlib>

#include "cpu.cpp"

namespace {

constexpr std::int64_t SIZES[] = {1, 63, 64, 65, 1000, 4097};
constexpr std::int64_t NUM = 6;
constexpr std::int64_t BOX[] = {4, 25, 10}, BOX_STRIDES[] = {250, 1, 25};  // as channels_last
constexpr std::int64_t TABLE[] = {17, 241}, TABLE_STRIDES[] = {1, 17};
constexpr Shape SHAPES[NUM] = {{}, {}, {}, {}, {3, BOX, BOX_STRIDES}, {2, TABLE, TABLE_STRIDES}};

struct Random {  // xorshift: the same numbers on every processor
  std::uint64_t state = 88172645463325252ull;
  double next() {  // in [-1, 1)
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return double(std::int64_t(state >> 11)) / 4503599627370496.0 - 1;
  }
};

void put(void* to, std::int32_t dtype, std::int64_t i, double x) {
  if (dtype == FLOAT64) static_cast<double*>(to)[i] = x;
  else if (dtype == FLOAT32) static_cast<float*>(to)[i] = float(x);
  else if (dtype == FLOAT16) store(static_cast<Float16*>(to)[i], float(x));
  else static_cast<BFloat16*>(to)[i].bits = std::uint16_t(bit_cast<std::uint32_t>(float(x)) >> 16);
}

std::int64_t bytes(std::int32_t dtype, std::int64_t n) {
  return dtype == QUANTISED ? n + (n + BLOCK - 1) / BLOCK : n * bytes_of(dtype);
}

// Values over many orders of magnitude, and at the start a nan, an inf, zeros and a subnormal.
std::vector<double> values(std::int64_t n, Random& random, bool special) {
  std::vector<double> found(static_cast<std::size_t>(n));
  for (double& x : found) x = random.next() * std::pow(2.0, std::floor(random.next() * 20));
  const double first[] = {std::nan(""), INFINITY, 0.0, -0.0, 1e-41};
  for (std::size_t i = 0; special && i < 5 && i < found.size(); ++i) found[i] = first[i];
  return found;
}

double number(const void* from, std::int32_t dtype, std::int64_t i) {
  if (dtype == QUANTISED) return static_cast<const Quantised*>(from)[i].byte;
  if (dtype == FLOAT64) return static_cast<const double*>(from)[i];
  if (dtype == FLOAT32) return static_cast<const float*>(from)[i];
  if (dtype == FLOAT16) return load(static_cast<const Float16*>(from)[i]);
  return load(static_cast<const BFloat16*>(from)[i]);
}

// Which nan an operation gives is the processor's choice: all of them count as one.
std::uint64_t hash(const void* from, std::int32_t dtype, std::int64_t n, std::uint64_t h) {
  for (std::int64_t i = 0; i < (dtype == QUANTISED ? bytes(dtype, n) : n); ++i) {
    const double x = number(from, dtype, i);
    h = (h ^ (x != x ? 1 : bit_cast<std::uint64_t>(x))) * 1099511628211ull;
  }
  return h;
}

std::uint64_t run(std::int32_t param, std::int32_t state, std::int32_t noisy, std::int32_t set) {
  Random random;
  std::vector<std::vector<unsigned char>> stored[4];  // p, g, m, v
  void* addresses[4][NUM];
  double steps[NUM] = {};
  void* counts[NUM];
  std::int64_t places[NUM];
  for (std::int64_t i = 0; i < NUM; ++i) {
    counts[i] = &steps[i], places[i] = i;
    for (int column = 0; column < 4; ++column) {
      const std::int32_t dtype = column < 2 ? param : state;
      stored[column].emplace_back(std::size_t(bytes(dtype, SIZES[i])));
      addresses[column][i] = stored[column].back().data();
      if (dtype == QUANTISED) continue;  // zeros
      const std::vector<double> numbers = values(SIZES[i], random, column == 1 && i == 3);
      for (std::int64_t j = 0; j < SIZES[i]; ++j) {
        const double x = numbers[std::size_t(j)];
        put(addresses[column][i], dtype, j, column == 3 ? std::fabs(x) : x);
      }
    }
  }
  for (int step = 0; step < 4; ++step) {
    // the third step is the last one with an inverse part
    const Settings settings{1e-2, 0.9, 0.999, 1e-8,    0.1,   0.3,
                            0.5,  param, state, FLOAT64, noisy, set};
    const std::int32_t error = dualadam_step(
        NUM, SIZES, SHAPES, addresses[0], const_cast<const void**>(addresses[1]), addresses[2],
        addresses[3], counts, places, &settings, nullptr);
    if (error) std::exit(2);
  }
  std::uint64_t h = 14695981039346656037ull;
  for (int column : {0, 2, 3})
    for (std::int64_t i = 0; i < NUM; ++i)
      h = hash(addresses[column][i], column ? state : param, SIZES[i], h);
  return h;
}

}  // namespace

int main(int, char** arguments) {
  const std::int32_t set = std::atoi(arguments[1]);
  const std::int32_t pairs[][2] = {{FLOAT64, FLOAT64},  {FLOAT32, FLOAT32},  {FLOAT32, BFLOAT16},
                                   {FLOAT16, FLOAT32},  {FLOAT16, BFLOAT16}, {BFLOAT16, FLOAT32},
                                   {BFLOAT16, BFLOAT16}, {FLOAT32, QUANTISED},
                                   {FLOAT16, QUANTISED}, {BFLOAT16, QUANTISED}};
  for (const auto& pair : pairs)
    for (std::int32_t noisy : {0, 1})
      std::printf("%d %d %d %016llx\n", pair[0], pair[1], noisy,
                  static_cast<unsigned long long>(run(pair[0], pair[1], noisy, set)));
}
