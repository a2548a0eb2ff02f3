// Convolutions of few channels, of which a pixel has too few numbers for a vector.
//
// Each channel of an image becomes a plane with a border of zeros, whose lines follow one another. There the numbers that one
// weight meets lie beside each other: those of a vector of results begin as far from these as the weight is from the kernel's
// corner. Behind each line are as many results too many as the kernel is wider than a pixel; they are left out.

#include "planes.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "avx512.h"
#include "processor.h"
#include "vectors.h"
#include "workers.h"
#include "workspace.h"

namespace undistill {
namespace {

#if defined(__x86_64__) && defined(__GNUC__)
// The planes of an image: each of `lines` lines of `across` numbers, `size` numbers after the one before it, which leaves room for
// vectors that begin in it.
struct Planes {
  int64_t count, lines, across, size;

  Planes(int64_t count, int64_t lines, int64_t across)
      : count(count), lines(lines), across(across), size(RoundUp(lines * across, 16) + 16) {}

  int64_t Numbers() const { return count * size; }
};

// Those of what is given, with its border: pixel (0, 0) is at `corner`, and from the first result to the last one are so many numbers.
struct GivenPlanes : Planes {
  int64_t corner, results;

  explicit GivenPlanes(const Gathering& of)
      : Planes(of.from, of.down + of.kernel - 1, of.across + of.kernel - 1),
        corner(-of.rows[0].first * across - of.columns[0].first),
        results((of.down - 1) * across + of.across) {}
};

/* Between channels and planes */

// Four lines of four numbers, `apart` from one to the next, to columns.
inline void Turn4(const float* from, int64_t apart, float* to, int64_t next) {
  __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + apart), c = _mm_loadu_ps(from + 2 * apart), d = _mm_loadu_ps(from + 3 * apart);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(to, a);
  _mm_storeu_ps(to + next, b);
  _mm_storeu_ps(to + 2 * next, c);
  _mm_storeu_ps(to + 3 * next, d);
}

// 16 lines of 16 numbers.
AVX512 void Turn16(const float* from, int64_t apart, float* to, int64_t next) {
  alignas(64) float columns[16][16];
  Transpose(from, apart, columns);
  for (int64_t i = 0; i < 16; i++) _mm512_storeu_ps(to + i * next, _mm512_load_ps(columns[i]));
}

// A matrix [lines, numbers], `apart` from one line to the next, to its transpose.
void Turn(const float* from, int64_t lines, int64_t numbers, int64_t apart, float* to, int64_t next) {
  if (lines == 1 && next == 1) {
    std::memcpy(to, from, numbers * sizeof(float));
    return;
  }
  if (numbers == 1 && apart == 1) {
    std::memcpy(to, from, lines * sizeof(float));
    return;
  }
  static const bool by16 = HasAvx512();
  for (int64_t line = 0; line < lines;) {
    const int64_t some = by16 && lines - line >= 16 && numbers >= 16 ? 16 : lines - line >= 4 ? 4 : 1;
    int64_t i = 0;
    for (; some == 16 && i + 16 <= numbers; i += 16) Turn16(from + line * apart + i, apart, to + i * next + line, next);
    for (; some >= 4 && i + 4 <= numbers; i += 4)
      for (int64_t four = line; four < line + some; four += 4) Turn4(from + four * apart + i, apart, to + i * next + four, next);
    for (; i < numbers; i++)
      for (int64_t each = line; each < line + some; each++) to[i * next + each] = from[each * apart + i];
    line += some;
  }
}

// An image [height, width, planes.count], of which pixel (0, 0) is at `corner` of each plane; the border stays as it is.
void PartImage(const float* image, int64_t height, int64_t width, const Planes& planes, int64_t corner, float* to) {
  for (int64_t y = 0; y < height; y++)
    Turn(image + y * width * planes.count, width, planes.count, planes.count, to + corner + y * planes.across, planes.size);
}

/* Sums */

// Some vectors of as many planes of results as there are weights beside each other, [from, taps, results].
template <typename Lanes, int results, int vectors>
__attribute__((always_inline)) inline void SumVectors(const float* given, int64_t from, int64_t size, const int64_t* taps,
                                                      int64_t count, const float* weights, float* to, int64_t apart) {
  typedef typename Lanes::Vector Vector;
  constexpr int64_t lanes = sizeof(Vector) / sizeof(float);
  Vector sums[results][vectors];
#pragma GCC unroll 4
  for (int i = 0; i < results; i++) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sums[i][v] = Vector{};
  }
  for (int64_t c = 0; c < from; c++, given += size) {
    for (int64_t tap = 0; tap < count; tap++, weights += results) {
      const float* here = given + taps[tap];
      Vector each[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) each[v] = *reinterpret_cast<const Vector*>(here + v * lanes);
#pragma GCC unroll 4
      for (int i = 0; i < results; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[i][v] += each[v] * weights[i];
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < results; i++) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) *reinterpret_cast<Vector*>(to + i * apart + v * lanes) = sums[i][v];
  }
}

// All vectors of these planes.
template <typename Lanes, int results, int most>
__attribute__((always_inline)) inline void SumPlanes(const float* given, int64_t from, int64_t size, const int64_t* taps, int64_t count,
                                                     const float* weights, int64_t numbers, float* to, int64_t apart) {
  constexpr int64_t lanes = sizeof(typename Lanes::Vector) / sizeof(float);
  int64_t at = 0;
  for (; at + (most - 1) * lanes < numbers; at += most * lanes)
    SumVectors<Lanes, results, most>(given + at, from, size, taps, count, weights, to + at, apart);
  if (most > 2 && at + lanes < numbers) {
    SumVectors<Lanes, results, 2>(given + at, from, size, taps, count, weights, to + at, apart);
    at += 2 * lanes;
  }
  for (; at < numbers; at += lanes)
    SumVectors<Lanes, results, 1>(given + at, from, size, taps, count, weights, to + at, apart);
}

using SumSome = void(const float* given, int64_t from, int64_t size, const int64_t* taps, int64_t count, const float* weights,
                     int64_t numbers, float* to, int64_t apart);

template <int results>
__attribute__((target("avx512f"))) void Sum512(const float* given, int64_t from, int64_t size, const int64_t* taps, int64_t count,
                                               const float* weights, int64_t numbers, float* to, int64_t apart) {
  SumPlanes<Lanes16, results, 4>(given, from, size, taps, count, weights, numbers, to, apart);
}

template <int results>
__attribute__((target("avx2,fma"))) void Sum256(const float* given, int64_t from, int64_t size, const int64_t* taps, int64_t count,
                                                const float* weights, int64_t numbers, float* to, int64_t apart) {
  SumPlanes<Lanes8, results, 2>(given, from, size, taps, count, weights, numbers, to, apart);
}

// The products of some planes of a gradient with one given plane, moved by up to as many numbers as a kernel is wide: what is added to
// sums [results, columns, lanes].
template <typename Lanes, int results, int columns>
__attribute__((always_inline)) inline void MultiplyPlanes(const float* given, const float* gradient, int64_t apart, int64_t numbers,
                                                          float* to) {
  typedef typename Lanes::Vector Vector;
  constexpr int64_t lanes = sizeof(Vector) / sizeof(float);
  Vector sums[results][columns];
#pragma GCC unroll 4
  for (int i = 0; i < results; i++) {
#pragma GCC unroll 8
    for (int k = 0; k < columns; k++) sums[i][k] = *reinterpret_cast<const Vector*>(to + (i * columns + k) * lanes);
  }
  for (int64_t at = 0; at < numbers; at += lanes) {
    Vector each[results];
#pragma GCC unroll 4
    for (int i = 0; i < results; i++) each[i] = *reinterpret_cast<const Vector*>(gradient + i * apart + at);
#pragma GCC unroll 8
    for (int k = 0; k < columns; k++) {
      const Vector moved = *reinterpret_cast<const Vector*>(given + at + k);
#pragma GCC unroll 4
      for (int i = 0; i < results; i++) sums[i][k] += moved * each[i];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < results; i++) {
#pragma GCC unroll 8
    for (int k = 0; k < columns; k++) *reinterpret_cast<Vector*>(to + (i * columns + k) * lanes) = sums[i][k];
  }
}

using Multiply = void(const float* given, const float* gradient, int64_t apart, int64_t numbers, float* to);

template <int results, int columns>
__attribute__((target("avx512f"))) void Multiply512(const float* given, const float* gradient, int64_t apart, int64_t numbers, float* to) {
  MultiplyPlanes<Lanes16, results, columns>(given, gradient, apart, numbers, to);
}

template <int results, int columns>
__attribute__((target("avx2,fma"))) void Multiply256(const float* given, const float* gradient, int64_t apart, int64_t numbers, float* to) {
  MultiplyPlanes<Lanes8, results, columns>(given, gradient, apart, numbers, to);
}

// What a processor does at once: planes of results, by how many there are.
struct Processor {
  bool can;
  int64_t lanes;
  SumSome* sum[4];
  // Kernels of 3 and of 5 a line at once, others column by column.
  int64_t results;
  Multiply *by1[4], *by3[4], *by5[4];
};

const Processor& Here() {
  static const Processor here = [] {
    if (HasAvx512())
      return Processor{true,
                       16,
                       {Sum512<1>, Sum512<2>, Sum512<3>, Sum512<4>},
                       4,
                       {Multiply512<1, 1>, Multiply512<2, 1>, Multiply512<3, 1>, Multiply512<4, 1>},
                       {Multiply512<1, 3>, Multiply512<2, 3>, Multiply512<3, 3>, Multiply512<4, 3>},
                       {Multiply512<1, 5>, Multiply512<2, 5>, Multiply512<3, 5>, Multiply512<4, 5>}};
    return Processor{__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"),
                     8,
                     {Sum256<1>, Sum256<2>, Sum256<3>, Sum256<4>},
                     2,
                     {Multiply256<1, 1>, Multiply256<2, 1>},
                     {Multiply256<1, 3>, Multiply256<2, 3>},
                     {Multiply256<1, 5>, Multiply256<2, 5>}};
  }();
  return here;
}

// Of each vector, its numbers' sum.
void SumLanes(const float* from, int64_t vectors, int64_t lanes, float* to) {
  for (int64_t i = 0; i < vectors; i++, from += lanes) {
    float halves[8];
    for (int64_t lane = 0; lane < 8; lane++) halves[lane] = lanes == 16 ? from[lane] + from[lane + 8] : from[lane];
    to[i] = ((halves[0] + halves[4]) + (halves[2] + halves[6])) + ((halves[1] + halves[5]) + (halves[3] + halves[7]));
  }
}

constexpr int64_t kMostKernel = 5, kAtOnce = 4;

// Weights by fours of results: [to / 4, from, taps, up to 4].
std::vector<float> WeightsOf(const Gathering& of, const float* filter) {
  std::vector<float> weights;
  weights.reserve(of.kernel * of.kernel * of.from * of.to);
  for (int64_t first = 0; first < of.to; first += kAtOnce)
    for (int64_t c = 0; c < of.from; c++)
      for (const int64_t line : of.rows[0].kernel)
        for (const int64_t column : of.columns[0].kernel)
          for (int64_t i = first; i < std::min(first + kAtOnce, of.to); i++) {
            const int64_t place = line * of.kernel + column;
            weights.push_back(filter[of.turned ? (place * of.to + i) * of.from + c : (place * of.from + c) * of.to + i]);
          }
  return weights;
}
#endif

}  // namespace

#if defined(__x86_64__) && defined(__GNUC__)
static bool InPlanes(const Gathering& of, int64_t most) {
  return Here().can && of.groups == 1 && of.along == 1 && of.apart == 1 && of.kernel > 1 && of.kernel <= kMostKernel &&
         (of.from * of.to <= most || (of.to <= 4 && of.from <= 128));
}

// Up to these, no other way is faster.
bool GathersInPlanes(const Gathering& of) { return InPlanes(of, 128); }
bool SumsInPlanes(const Gathering& of) { return InPlanes(of, 32); }

void GatherInPlanes(const Gathering& of, const float* given, const float* filter, float* result) {
  const GivenPlanes planes(of);
  const int64_t apart = RoundUp(planes.results, 16);
  const auto weights = WeightsOf(of, filter);
  std::vector<int64_t> taps;
  for (int64_t i = 0; i < of.kernel; i++)
    for (int64_t j = 0; j < of.kernel; j++) taps.push_back(i * planes.across + j);
  const int64_t count = static_cast<int64_t>(taps.size()), images = std::max<int64_t>(1, of.n / 32);
  Workers().Run((of.n + images - 1) / images, [&](int64_t task) {
    const Workspace parted(planes.Numbers()), sums(of.to * apart);
    std::fill_n(parted.Data(), planes.Numbers(), 0.0f);
    for (int64_t image = task * images; image < std::min(of.n, (task + 1) * images); image++) {
      PartImage(given + image * of.height * of.width * of.from, of.height, of.width, planes, planes.corner, parted.Data());
      for (int64_t first = 0; first < of.to; first += kAtOnce) {
        const int64_t some = std::min(kAtOnce, of.to - first);
        Here().sum[some - 1](parted.Data(), of.from, planes.size, taps.data(), count, weights.data() + first * of.from * count,
                             planes.results, sums.Data() + first * apart, apart);
      }
      const int64_t begin = image * of.down * of.across;
      for (int64_t y = 0; y < of.down; y++)
        Turn(sums.Data() + y * planes.across, of.to, of.across, apart, result + (begin + y * of.across) * of.to, of.to);
    }
  });
}

void PlanesToFilter(const Gathering& of, const float* x, const float* dy, float* filter) {
  const Processor& here = Here();
  const int64_t kernel = of.kernel, at_once = kernel == 3 || kernel == 5 ? kernel : 1;
  const GivenPlanes planes(of);
  const Planes gradient(of.to, of.down, planes.across);
  const int64_t weights = kernel * kernel * of.from * of.to, parts = std::clamp<int64_t>(of.n / 8, 1, 16);
  const auto& multiply = at_once == 3 ? here.by3 : at_once == 5 ? here.by5 : here.by1;
  const Workspace totals(parts * weights);
  Workers().Run(parts, [&](int64_t part) {
    const Workspace images(planes.Numbers()), gradients(gradient.Numbers()), sums(weights * here.lanes);
    std::fill_n(images.Data(), planes.Numbers(), 0.0f);
    // What is behind a line of the gradient stays zero, and adds nothing.
    std::fill_n(gradients.Data(), gradient.Numbers(), 0.0f);
    std::fill_n(sums.Data(), weights * here.lanes, 0.0f);
    for (int64_t image = of.n * part / parts; image < of.n * (part + 1) / parts; image++) {
      PartImage(x + image * of.height * of.width * of.from, of.height, of.width, planes, planes.corner, images.Data());
      PartImage(dy + image * of.down * of.across * of.to, of.down, of.across, gradient, 0, gradients.Data());
      float* to = sums.Data();
      for (int64_t first = 0; first < of.to; first += here.results) {
        const int64_t some = std::min(here.results, of.to - first);
        for (int64_t c = 0; c < of.from; c++)
          for (int64_t line = 0; line < kernel; line++)
            for (int64_t column = 0; column < kernel; column += at_once, to += some * at_once * here.lanes)
              multiply[some - 1](images.Data() + c * planes.size + line * planes.across + column, gradients.Data() + first * gradient.size,
                                 gradient.size, planes.results, to);
      }
    }
    SumLanes(sums.Data(), weights, here.lanes, totals.Data() + part * weights);
  });
  for (int64_t part = 1; part < parts; part++)
    for (int64_t i = 0; i < weights; i++) totals.Data()[i] += totals.Data()[part * weights + i];
  // In the order in which they were taken.
  const float* from = totals.Data();
  for (int64_t first = 0; first < of.to; first += here.results)
    for (int64_t c = 0; c < of.from; c++)
      for (int64_t line = 0; line < kernel; line++)
        for (int64_t column = 0; column < kernel; column += at_once)
          for (int64_t i = first; i < std::min(first + here.results, of.to); i++)
            for (int64_t k = column; k < column + at_once; k++)
              filter[((line * kernel + k) * of.from + c) * of.to + i] = *from++;
}
#else
bool GathersInPlanes(const Gathering&) { return false; }
bool SumsInPlanes(const Gathering&) { return false; }
void GatherInPlanes(const Gathering&, const float*, const float*, float*) {}
void PlanesToFilter(const Gathering&, const float*, const float*, float*) {}
#endif

}  // namespace undistill
