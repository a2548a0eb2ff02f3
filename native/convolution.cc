// Convolutions of 3 by 3, stride 1 and one zero on each side.
//
// Winograd's way, F(4×4, 3×3) of Lavin and Gray (2016): 36 products for a tile of 4×4 pixels where a convolution has 144. It
// pays where vectors are so long that products are the limit. In the transform domain a tile has 36 numbers: the values of
// polynomials at six points, 0, ±5/8, ±3/2 and infinity, along either side. With these points the result's error is about
// twice that of plain sums; with 0, ±1, ±2 and infinity it is four times.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "avx512.h"
#include "channels.h"
#include "matrices.h"
#include "normalised.h"
#include "operation.h"
#include "processor.h"
#include "vectors.h"
#include "workers.h"
#include "workspace.h"

namespace undistill {
namespace {

// Images [n, height, width, from] to [n, height, width, to], which may be some channels of images with more of them, and the
// filter some of a filter's. Upsampled, each pixel of images of half these sides stands for
// four; summed, as the gradient to such images is, each of four pixels of the result becomes one. With bfloat16, factors are
// rounded to it before they are transformed; products, sums and results are float32.
struct Convolution {
  int64_t n, height, width, from, to;
  bool bfloat16, upsampled, summed;
  int64_t groups;
  // What is done to the images first; and, of some channels, which are the first.
  const Normal* normal;
  int64_t first = 0;

  // From one pixel of the images, and of the result, to the next.
  int64_t FromApart() const { return groups * from; }
  int64_t ToApart() const { return groups * to; }

  int64_t TilesDown() const { return (height + 3) / 4; }
  int64_t TilesAcross() const { return (width + 3) / 4; }
  int64_t Tiles() const { return n * TilesDown() * TilesAcross(); }
  // Of the images that are given, and of the result.
  int64_t GivenPixels() const { return n * height * width / (upsampled ? 4 : 1); }
  int64_t ResultPixels() const { return n * height * width / (summed ? 4 : 1); }
  // Output channels that are dealt with together.
  int64_t Panel() const { return to % 32 == 0 ? 32 : 16; }
};

#if defined(__x86_64__)
constexpr int64_t kLanes = 16, kPoints = 36;

/* Lines of a tile, along either side */

// The points ±a and ±b, and what a filter is divided by at each.
constexpr float kA = 5.0f / 8, kB = 3.0f / 2, kA2 = kA * kA, kB2 = kB * kB;
constexpr float kAt0 = 1 / (kA2 * kB2), kAtA = 1 / (2 * kA2 * (kA2 - kB2)), kAtB = 1 / (2 * kB2 * (kB2 - kA2));

AVX512_INLINE __m512 Times(float factor, __m512 x) { return _mm512_mul_ps(_mm512_set1_ps(factor), x); }

// factor x + y.
AVX512_INLINE __m512 Plus(float factor, __m512 x, __m512 y) { return _mm512_fmadd_ps(_mm512_set1_ps(factor), x, y); }

// even ± factor odd.
AVX512_INLINE void Both(__m512 even, float factor, __m512 odd, __m512* plus, __m512* minus) {
  const __m512 by = _mm512_set1_ps(factor);
  *plus = _mm512_fmadd_ps(by, odd, even);
  *minus = _mm512_fnmadd_ps(by, odd, even);
}

// Six pixels to the transform domain: Bᵀ d.
AVX512_INLINE void ToTransformDomain(const __m512 d[6], __m512 v[6]) {
  v[0] = Plus(kA2 * kB2, d[0], Plus(-(kA2 + kB2), d[2], d[4]));
  Both(Plus(-kB2, d[2], d[4]), kA, Plus(-kB2, d[1], d[3]), &v[1], &v[2]);
  Both(Plus(-kA2, d[2], d[4]), kB, Plus(-kA2, d[1], d[3]), &v[3], &v[4]);
  v[5] = Plus(kA2 * kB2, d[1], Plus(-(kA2 + kB2), d[3], d[5]));
}

// Back to four pixels: Aᵀ m.
AVX512_INLINE void FromTransformDomain(const __m512 m[6], __m512 y[4]) {
  const __m512 even_a = _mm512_add_ps(m[1], m[2]), odd_a = _mm512_sub_ps(m[1], m[2]),
               even_b = _mm512_add_ps(m[3], m[4]), odd_b = _mm512_sub_ps(m[3], m[4]);
  y[0] = _mm512_add_ps(m[0], _mm512_add_ps(even_a, even_b));
  y[1] = Plus(kA, odd_a, Times(kB, odd_b));
  y[2] = Plus(kA2, even_a, Times(kB2, even_b));
  y[3] = Plus(kA * kA2, odd_a, Plus(kB * kB2, odd_b, m[5]));
}

// The same, and then the sums of the first two pixels and of the last two.
AVX512_INLINE void FromTransformDomainToSums(const __m512 m[6], __m512 sums[2]) {
  __m512 y[4];
  FromTransformDomain(m, y);
  sums[0] = _mm512_add_ps(y[0], y[1]);
  sums[1] = _mm512_add_ps(y[2], y[3]);
}

// The gradient to four pixels to the transform domain: A e, the transpose of FromTransformDomain.
AVX512_INLINE void GradientToTransformDomain(const __m512 e[4], __m512 d[6]) {
  d[0] = e[0];
  Both(Plus(kA2, e[2], e[0]), kA, Plus(kA2, e[3], e[1]), &d[1], &d[2]);
  Both(Plus(kB2, e[2], e[0]), kB, Plus(kB2, e[3], e[1]), &d[3], &d[4]);
  d[5] = e[3];
}

// Three weights to the transform domain: G g.
AVX512_INLINE void FilterToTransformDomain(const __m512 g[3], __m512 u[6]) {
  u[0] = Times(kAt0, g[0]);
  Both(Times(kAtA, Plus(kA2, g[2], g[0])), kAtA * kA, g[1], &u[1], &u[2]);
  Both(Times(kAtB, Plus(kB2, g[2], g[0])), kAtB * kB, g[1], &u[3], &u[4]);
  u[5] = g[2];
}

// The gradient from the transform domain to three weights: Gᵀ u, the transpose of FilterToTransformDomain.
AVX512_INLINE void FilterFromTransformDomain(const __m512 u[6], __m512 g[3]) {
  const __m512 even_a = Times(kAtA, _mm512_add_ps(u[1], u[2])), odd_a = Times(kAtA, _mm512_sub_ps(u[1], u[2])),
               even_b = Times(kAtB, _mm512_add_ps(u[3], u[4])), odd_b = Times(kAtB, _mm512_sub_ps(u[3], u[4]));
  g[0] = Plus(kAt0, u[0], _mm512_add_ps(even_a, even_b));
  g[1] = Plus(kA, odd_a, Times(kB, odd_b));
  g[2] = Plus(kA2, even_a, Plus(kB2, even_b, u[5]));
}

// The same for the columns of a square and then for the lines of what they give.
template <int in, int out, void (*line)(const __m512*, __m512*), typename Load, typename Store>
AVX512_INLINE void AlongBoth(Load load, Store store) {
  __m512 columns[in][out];
#pragma GCC unroll 6
  for (int j = 0; j < in; j++) {
    __m512 column[in];
#pragma GCC unroll 6
    for (int i = 0; i < in; i++) column[i] = load(i, j);
    line(column, columns[j]);
  }
#pragma GCC unroll 6
  for (int i = 0; i < out; i++) {
    __m512 across[in], result[out];
#pragma GCC unroll 6
    for (int j = 0; j < in; j++) across[j] = columns[j][i];
    line(across, result);
#pragma GCC unroll 6
    for (int j = 0; j < out; j++) store(i, j, result[j]);
  }
}

/* Tiles */

// A part of an image: its rows, and where in them its columns are, with zeros for what is outside of the image.
struct Part {
  const float* rows[6];
  int64_t columns[6];
  bool inside[6];
};

// In an image that is upsampled, two rows and two columns are one.
Part PartOf(const float* image, int64_t height, int64_t width, int64_t channels, bool upsampled, int64_t top, int64_t left,
            int64_t size, const float* zeros) {
  Part part;
  for (int64_t i = 0; i < size; i++) {
    const int64_t row = top + i, column = left + i;
    const bool inside = row >= 0 && row < height;
    part.inside[i] = inside;
    part.rows[i] = inside ? image + (upsampled ? row / 2 * (width / 2) : row * width) * channels : zeros;
    part.columns[i] = column < 0 || column >= width ? -1 : upsampled ? column / 2 * channels : column * channels;
  }
  return part;
}

// Where a tile is.
struct Corner {
  int64_t image, top, left;
};

Corner CornerOf(const Convolution& of, int64_t tile) {
  const int64_t across = tile % of.TilesAcross(), above = tile / of.TilesAcross();
  return {above / of.TilesDown(), 4 * (above % of.TilesDown()), 4 * across};
}

// Of the images, the pixels of a tile and those around them.
Part PixelsOf(const Convolution& of, const float* x, int64_t tile, const float* zeros) {
  const auto [image, top, left] = CornerOf(of, tile);
  const float* images = x + image * of.GivenPixels() / of.n * of.FromApart();
  return PartOf(images, of.height, of.width, of.FromApart(), of.upsampled, top - 1, left - 1, 6, zeros);
}

// Of the gradient to the result, the pixels of a tile.
Part GradientOf(const Convolution& of, const float* dy, int64_t tile, const float* zeros) {
  const auto [image, top, left] = CornerOf(of, tile);
  return PartOf(dy + image * of.height * of.width * of.ToApart(), of.height, of.width, of.ToApart(), false, top, left, 4, zeros);
}

// 16 numbers, rounded to bfloat16 where that is asked for: to the nearest number, and of two to the even one. There is an
// instruction for it, but neither every processor nor every assembler with AVX-512 has it.
template <bool bfloat16>
AVX512_INLINE __m512 Factors(const float* from) {
  const __m512 wide = _mm512_loadu_ps(from);
  if (!bfloat16) return wide;
  const __m512i bits = _mm512_castps_si512(wide), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1)),
                moved = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  return _mm512_castsi512_ps(_mm512_and_si512(moved, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}

template <bool bfloat16>
AVX512_INLINE __m512 PixelOf(const Part& part, int i, int j, int64_t c) {
  return part.columns[j] < 0 ? _mm512_setzero_ps() : Factors<bfloat16>(part.rows[i] + part.columns[j] + c);
}

// 16 channels of what images are normalised by.
struct Normaliser {
  __m512 mean, slope, offset, least, most;

  AVX512_HERE __m512 Free(__m512 x) const { return _mm512_fmadd_ps(_mm512_sub_ps(x, mean), slope, offset); }
  // Of two numbers one of which is none, these give the second.
  AVX512_HERE __m512 Bound(__m512 z) const { return _mm512_min_ps(most, _mm512_max_ps(least, z)); }
  AVX512_HERE __m512 operator()(__m512 x) const { return Bound(Free(x)); }

  // The gradient to z, of x less its mean, from that to z within bounds.
  AVX512_HERE __m512 Within(__m512 apart, __m512 gradient) const {
    const __m512 z = _mm512_fmadd_ps(apart, slope, offset);
    const __mmask16 inside = _mm512_cmp_ps_mask(z, least, _CMP_GT_OQ) & _mm512_cmp_ps_mask(z, most, _CMP_LT_OQ);
    return _mm512_maskz_mov_ps(inside, gradient);
  }
};

AVX512_INLINE Normaliser NormaliserOf(const Normal& normal, int64_t c) {
  return {_mm512_loadu_ps(normal.Mean() + c), _mm512_loadu_ps(normal.Slope() + c), _mm512_loadu_ps(normal.Offset() + c),
          _mm512_set1_ps(normal.Least()), _mm512_set1_ps(normal.Most())};
}

// The same of images that are to be normalised; a border of zeros is not.
AVX512 void NormalisedTileToTransformDomain(const Part& part, const Normal& normal, int64_t first, int64_t c, float* v,
                                            int64_t apart) {
  const auto normalise = NormaliserOf(normal, first + c);
  AlongBoth<6, 6, ToTransformDomain>(
      [&](int i, int j) AVX512_HERE {
        if (!part.inside[i] || part.columns[j] < 0) return _mm512_setzero_ps();
        return normalise(_mm512_loadu_ps(part.rows[i] + part.columns[j] + c));
      },
      [&](int i, int j, __m512 one) AVX512_HERE { _mm512_storeu_ps(v + (6 * i + j) * apart, one); });
}

// 16 channels of a tile's pixels to the transform domain, where points are `apart` from one another, as they are below.
template <bool bfloat16>
AVX512 void TileToTransformDomain(const Part& part, int64_t c, float* v, int64_t apart) {
  AlongBoth<6, 6, ToTransformDomain>(
      [&](int i, int j) AVX512_HERE { return PixelOf<bfloat16>(part, i, j, c); },
      [&](int i, int j, __m512 one) AVX512_HERE { _mm512_storeu_ps(v + (6 * i + j) * apart, one); });
}

// 16 channels of the gradient to a tile's result to the transform domain.
template <bool bfloat16>
AVX512 void GradientTileToTransformDomain(const Part& part, int64_t c, float* d, int64_t apart) {
  AlongBoth<4, 6, GradientToTransformDomain>(
      [&](int i, int j) AVX512_HERE { return PixelOf<bfloat16>(part, i, j, c); },
      [&](int i, int j, __m512 one) AVX512_HERE { _mm512_storeu_ps(d + (6 * i + j) * apart, one); });
}

enum class Summed { kNothing, kMoments, kGradient, kFinished };

// What 16 channels of a tile add to the sums of a part, whose numbers of a channel are `apart`: for moments a shift, sums and squares;
// for the gradient of a norm two sums, with the images that it normalised, of the form of the result. Nothing where the result is
// finished: normalised, with such images added where there are some.
struct TileSums {
  float* sums;
  int64_t apart;
  const float* images = nullptr;
  const Normal* normal = nullptr;
};

// 16 channels of a tile's products to its pixels in the result, as far as they are inside: each, or the sums of four.
template <int pixels, void (*line)(const __m512*, __m512*), Summed summed>
AVX512 void TileFromTransformDomain(const Convolution& of, const float* m, int64_t apart, int64_t tile, int64_t c, float* y,
                                    const TileSums& to) {
  const auto [image, top, left] = CornerOf(of, tile);
  constexpr int64_t by = 4 / pixels;
  const int64_t height = of.height / by, width = of.width / by, down = height - top / by, across = width - left / by,
                at = ((image * height + top / by) * width + left / by) * of.ToApart() + c;
  constexpr bool moments = summed == Summed::kMoments, gradient = summed == Summed::kGradient,
                 finished = summed == Summed::kFinished;
  const __m512 shift = moments ? _mm512_loadu_ps(to.sums) : _mm512_setzero_ps();
  const Normaliser normaliser = gradient || finished ? NormaliserOf(*to.normal, c) : Normaliser();
  __m512 one_sum = _mm512_setzero_ps(), other_sum = _mm512_setzero_ps();
  AlongBoth<6, pixels, line>([&](int i, int j) AVX512_HERE { return _mm512_loadu_ps(m + (6 * i + j) * apart); },
                             [&](int i, int j, __m512 one) AVX512_HERE {
                               if (i >= down || j >= across) return;
                               const int64_t pixel = at + (i * width + j) * of.ToApart();
                               if (finished) {
                                 one = normaliser.Free(one);
                                 if (to.images != nullptr) one = _mm512_add_ps(one, _mm512_loadu_ps(to.images + pixel));
                                 one = normaliser.Bound(one);
                               }
                               _mm512_storeu_ps(y + pixel, one);
                               if (moments) {
                                 const __m512 d = _mm512_sub_ps(one, shift);
                                 one_sum = _mm512_add_ps(one_sum, d);
                                 other_sum = _mm512_fmadd_ps(d, d, other_sum);
                               }
                               if (gradient) {
                                 const __m512 d = _mm512_sub_ps(_mm512_loadu_ps(to.images + pixel), normaliser.mean),
                                              g = normaliser.Within(d, one);
                                 one_sum = _mm512_add_ps(one_sum, g);
                                 other_sum = _mm512_fmadd_ps(g, d, other_sum);
                               }
                             });
  if (!moments && !gradient) return;
  float *first = to.sums + (moments ? to.apart : 0), *second = first + to.apart;
  _mm512_storeu_ps(first, _mm512_add_ps(_mm512_loadu_ps(first), one_sum));
  _mm512_storeu_ps(second, _mm512_add_ps(_mm512_loadu_ps(second), other_sum));
}

// The pixels of some tiles in the result.
int64_t PixelsIn(const Convolution& of, int64_t begin, int64_t end) {
  int64_t pixels = 0;
  for (int64_t tile = begin; tile < end; tile++) {
    const auto [image, top, left] = CornerOf(of, tile);
    pixels += std::min<int64_t>(4, of.height - top) * std::min<int64_t>(4, of.width - left);
  }
  return pixels;
}

/* Filters */

// The weights of one input and 16 output channels, which are `next` apart, to the transform domain.
template <bool bfloat16>
AVX512 void WeightsToTransformDomain(const float* weights, int64_t next, float* u, int64_t apart) {
  AlongBoth<3, 6, FilterToTransformDomain>(
      [&](int i, int j) AVX512_HERE { return Factors<bfloat16>(weights + (3 * i + j) * next); },
      [&](int i, int j, __m512 one) AVX512_HERE { _mm512_storeu_ps(u + (6 * i + j) * apart, one); });
}

// The gradient in the transform domain, of one input and 16 output channels, to the weights, which are `next` apart.
AVX512 void WeightsFromTransformDomain(const float* u, int64_t apart, float* weights, int64_t next) {
  AlongBoth<6, 3, FilterFromTransformDomain>(
      [&](int i, int j) AVX512_HERE { return _mm512_loadu_ps(u + (6 * i + j) * apart); },
      [&](int i, int j, __m512 one) AVX512_HERE { _mm512_storeu_ps(weights + (3 * i + j) * next, one); });
}

// Calls body(c, lane, weights, next) for some input channels and one panel of output channels, 16 by 16: weights(i) are those of input
// channel c + i and of 16 output channels of the panel from `lane` on, `next` apart. `filter` is [3, 3, from, to]; transposed, it is
// [3, 3, to, from] and turned by 180 degrees, as for the gradient to the images.
template <typename Body>
void EachWeights(const Convolution& of, const float* filter, bool transposed, int64_t panel, int64_t begin, int64_t end, Body body) {
  const int64_t width = of.Panel(), row = transposed ? of.FromApart() : of.ToApart();
  for (int64_t lane = 0; lane < width; lane += kLanes) {
    const int64_t k = panel * width + lane;
    for (int64_t c = begin; c < end; c += kLanes) {
      float turned[9][16][16];
      for (int i = 0; transposed && i < 9; i++) Transpose(filter + ((8 - i) * of.to + k) * row + c, row, turned[i]);
      const auto weights = [&](int64_t i) { return transposed ? turned[0][i] : filter + (c + i) * row + k; };
      body(c, lane, weights, transposed ? 16 * 16 : of.from * row);
    }
  }
}

// Some input channels of one panel of output channels to the transform domain: u is [from, panel] at every point.
void FiltersToTransformDomain(const Convolution& of, const float* filter, bool transposed, int64_t panel, int64_t begin,
                              int64_t end, float* u, int64_t apart) {
  const auto transform = of.bfloat16 ? WeightsToTransformDomain<true> : WeightsToTransformDomain<false>;
  EachWeights(of, filter, transposed, panel, begin, end, [&](int64_t c, int64_t lane, auto weights, int64_t next) {
    for (int64_t i = 0; i < kLanes; i++) transform(weights(i), next, u + (c + i) * of.Panel() + lane, apart);
  });
}

/* Products */

// c [rows, vectors · 16] = or += the sum over k of a[i, k] b[k, vectors · 16]. Of a, one row is `row` numbers from the next
// and one k `column`; k goes through blocks of `depth`, which are `block` numbers apart in a.
template <int rows, int vectors, int row, int column, bool add>
AVX512 void Multiply(const float* a, int64_t blocks, int64_t block, int64_t depth, const float* b, float* c, int64_t next) {
  __m512 sums[rows][vectors];
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++)
      sums[i][v] = add ? _mm512_loadu_ps(c + i * next + v * kLanes) : _mm512_setzero_ps();
  }
  for (int64_t one = 0; one < blocks; one++, a += block) {
    const float* factors = a;
    for (int64_t k = 0; k < depth; k++, factors += column, b += vectors * kLanes) {
      __m512 each[vectors];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v++) each[v] = _mm512_loadu_ps(b + v * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < rows; i++) {
        const __m512 factor = _mm512_set1_ps(factors[i * row]);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sums[i][v] = _mm512_fmadd_ps(factor, each[v], sums[i][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) _mm512_storeu_ps(c + i * next + v * kLanes, sums[i][v]);
  }
}

// Rows that are dealt with together: as many sums as hide how long a product takes.
int64_t RowsFor(int64_t panel) { return panel == 32 ? 8 : 16; }

template <int row, int column, bool add>
auto MultiplyFor(int64_t panel) {
  return panel == 32 ? Multiply<8, 2, row, column, add> : Multiply<16, 1, row, column, add>;
}

bool CanConvolve() {
  static const bool can = HasAvx512();
  return can;
}

/* Forwards, and the gradient to the images */

// Some tiles: v is [36, from / 16, room, 16] and m, for one panel, [36, room, panel]. Points are a little more than a power of
// two apart, so that they do not displace one another in the cache.
struct Block {
  int64_t begin, count, room;

  Block(int64_t begin, int64_t count) : begin(begin), count(count), room((count + kLanes - 1) / kLanes * kLanes) {}

  int64_t Apart(int64_t channels) const { return room * channels + kLanes; }
};

// 16 channels of a tile.
void TileToTransformDomain(const Convolution& of, const Part& part, int64_t c, float* to, int64_t apart) {
  const auto transform = of.bfloat16 ? TileToTransformDomain<true> : TileToTransformDomain<false>;
  if (of.normal->Any())
    NormalisedTileToTransformDomain(part, *of.normal, of.first, c, to, apart);
  else
    transform(part, c, to, apart);
}

void TilesToTransformDomain(const Convolution& of, const float* x, const float* zeros, const Block& block, int64_t begin,
                            int64_t end, float* v) {
  for (int64_t t = begin; t < end; t++) {
    const Part part = PixelsOf(of, x, block.begin + t, zeros);
    for (int64_t c = 0; c < of.from; c += kLanes)
      TileToTransformDomain(of, part, c, v + c * block.room + t * kLanes, block.Apart(of.from));
  }
}

// How many transformed tiles are in the cache that processors share.
int64_t TilesNotFar(const Convolution& of, int64_t channels) {
  return std::min(of.Tiles(), std::max<int64_t>(64, 65536 / channels / kLanes * kLanes));
}

// Brings memory that is wanted next nearer, a bit for each point, while products are at work: `count` channels from `first` on
// of images, if there are any, of all of their pixels, where some tiles are. Where those are not whole rows of tiles, nearly.
template <bool to_write>
class Ahead {
 public:
  Ahead() = default;
  Ahead(const Convolution& of, const float* images, int64_t pixels, int64_t channels, int64_t tile, int64_t tiles,
        int64_t first, int64_t count)
      : next_(channels), width_(count) {
    if (images == nullptr) return;
    const auto pixel = [&](int64_t t) { return pixels * std::min(t, of.Tiles()) / of.Tiles(); };
    from_ = images + pixel(tile) * channels + first;
    rows_ = pixel(tile + tiles) - pixel(tile);
  }

  // The compiler would leave out a call that it does not see through.
  __attribute__((always_inline)) void Fetch(int64_t point) const {
    for (int64_t i = rows_ * point / kPoints; i < rows_ * (point + 1) / kPoints; i++)
      for (int64_t j = 0; j < width_; j += kLanes) __builtin_prefetch(from_ + i * next_ + j, to_write, 2);
  }

 private:
  const float* from_ = nullptr;
  int64_t rows_ = 0, next_ = 0, width_ = 0;
};

// What is done with the result on its way to memory: by parts of it, the moments of its channels are summed, or what the gradient of a
// norm before the convolution needs; or it is finished.
class ResultSums {
 public:
  ResultSums() = default;
  explicit ResultSums(ImageMoments* moments) : moments_(moments->Any() ? moments : nullptr) {}
  explicit ResultSums(NormGradient* gradient) : gradient_(gradient), normal_(gradient->Forwards()) {}
  explicit ResultSums(const Finish& finish) : finish_(&finish), normal_(finish.After()) {}

  void Expect(int64_t parts) {
    if (moments_ != nullptr) moments_->Expect(parts);
    if (gradient_ != nullptr) gradient_->Expect(parts);
  }

  // Of one part: the sums of this group's channels, and its first tile.
  struct Part {
    Summed summed = Summed::kNothing;
    int64_t first = 0;
    TileSums sums{};
    Normal normal;

    TileSums Of(int64_t c) const { return {sums.sums == nullptr ? nullptr : sums.sums + c, sums.apart, sums.images, &normal}; }
  };

  // Of the tiles begin to end.
  Part Of(const Convolution& of, int64_t part, int64_t begin, int64_t end, int64_t group) const {
    const int64_t channel = group * of.to;
    if (moments_ != nullptr)
      return {Summed::kMoments, begin, {moments_->Part(part, PixelsIn(of, begin, end)) + channel, moments_->Width()}, {}};
    if (gradient_ != nullptr)
      return {Summed::kGradient, begin, {gradient_->Part(part) + channel, gradient_->Apart(), gradient_->Images() + channel},
              normal_.From(channel)};
    if (finish_ != nullptr)
      return {Summed::kFinished, begin, {nullptr, 0, finish_->Plus() == nullptr ? nullptr : finish_->Plus() + channel},
              normal_.From(channel)};
    return {};
  }

 private:
  ImageMoments* moments_ = nullptr;
  NormGradient* gradient_ = nullptr;
  const Finish* finish_ = nullptr;
  Normal normal_;
};

// The products m [36, end - begin, panel] of one panel of output channels, for the tiles begin to end of a block, to the result.
void PanelFromTransformDomain(const Convolution& of, const Block& block, int64_t begin, int64_t end, const float* m, int64_t m_apart,
                              int64_t panel, float* y, const ResultSums::Part& part) {
  const int64_t width = of.Panel();
  const auto nothing = of.summed ? TileFromTransformDomain<2, FromTransformDomainToSums, Summed::kNothing>
                                 : TileFromTransformDomain<4, FromTransformDomain, Summed::kNothing>;
  const auto to_tile = part.summed == Summed::kMoments    ? TileFromTransformDomain<4, FromTransformDomain, Summed::kMoments>
                       : part.summed == Summed::kGradient ? TileFromTransformDomain<4, FromTransformDomain, Summed::kGradient>
                       : part.summed == Summed::kFinished ? TileFromTransformDomain<4, FromTransformDomain, Summed::kFinished>
                                                          : nothing;
  for (int64_t t = begin; t < end; t++) {
    for (int64_t lane = 0; lane < width; lane += kLanes) {
      const float* products = m + (t - begin) * width + lane;
      const int64_t tile = block.begin + t, c = panel * width + lane;
      if (part.summed == Summed::kMoments && tile == part.first) {
        // The shift is the part's first pixel.
        nothing(of, products, m_apart, tile, c, y, {});
        const auto [image, top, left] = CornerOf(of, tile);
        std::copy_n(y + ((image * of.height + top) * of.width + left) * of.ToApart() + c, kLanes, part.sums.sums + c);
      }
      to_tile(of, products, m_apart, tile, c, y, part.Of(c));
    }
  }
}

// The result of one panel of output channels for the tiles begin to end of a block. u is that panel's.
void ConvolvePanel(const Convolution& of, const Block& block, int64_t begin, int64_t end, const float* v, const float* u,
                   int64_t u_apart, int64_t panel, float* m, int64_t m_apart, float* y, const Ahead<false>& next,
                   const Ahead<true>& result, const Ahead<false>& beside, const ResultSums::Part& part) {
  const int64_t width = of.Panel(), rows = RowsFor(width);
  const auto multiply = MultiplyFor<kLanes, 1, false>(width);
  for (int64_t point = 0; point < kPoints; point++) {
    const float* factors = v + point * block.Apart(of.from);
    next.Fetch(point);
    result.Fetch(point);
    beside.Fetch(point);
    for (int64_t t = begin; t < end; t += rows)
      multiply(factors + t * kLanes, of.from / kLanes, block.room * kLanes, kLanes, u + point * u_apart,
               m + point * m_apart + (t - begin) * width, width);
  }
  PanelFromTransformDomain(of, block, begin, end, m, m_apart, panel, y, part);
}

// Filters of few channels at every point: they stay near.
class NearFilters {
 public:
  NearFilters(const Convolution& of, const float* filter, bool transposed)
      : apart_(of.from * of.to + kLanes), panel_(of.from * of.Panel()), u_(kPoints * apart_) {
    constexpr int64_t channels = 32;  // of a part
    const int64_t parts = (of.from + channels - 1) / channels;
    Workers().Run(of.to / of.Panel() * parts, [&](int64_t i) {
      const int64_t panel = i / parts, begin = i % parts * channels, end = std::min(begin + channels, of.from);
      FiltersToTransformDomain(of, filter, transposed, panel, begin, end, u_.Data() + panel * panel_, apart_);
    });
  }

  const float* Panel(int64_t panel) const { return u_.Data() + panel * panel_; }
  int64_t Apart() const { return apart_; }

 private:
  int64_t apart_, panel_;
  Workspace u_;
};

// Tiles that go all the way at once, where filters stay near.
int64_t TilesAtOnce(const Convolution& of) {
  return of.from <= 64 ? std::clamp<int64_t>(1024 / of.from, 16, 64) / kLanes * kLanes : 32;
}

// The tiles begin to end, block after block. `then` is what is wanted after them.
void ConvolveTiles(const Convolution& of, const float* x, const NearFilters& u, const float* zeros, int64_t begin, int64_t end,
                   const ResultSums::Part& part, float* y, const Ahead<false>& then = {}) {
  const int64_t size = TilesAtOnce(of), m_apart = Block(0, size).Apart(of.Panel());
  const Workspace v(kPoints * Block(0, size).Apart(of.from)), m(kPoints * m_apart);
  for (; begin < end; begin += size) {
    const Block block(begin, std::min(size, end - begin));
    TilesToTransformDomain(of, x, zeros, block, 0, block.count, v.Data());
    const bool last = begin + size >= end;
    const Ahead<false> next = last ? then : Ahead<false>(of, x, of.GivenPixels(), of.FromApart(), begin + size, size, 0, of.from),
                       beside(of, part.sums.images, of.ResultPixels(), of.ToApart(), begin, block.count, 0, of.to);
    const Ahead<true> result(of, y, of.ResultPixels(), of.ToApart(), begin, block.count, 0, of.to);
    for (int64_t panel = 0; panel * of.Panel() < of.to; panel++) {
      const bool first = panel == 0;
      ConvolvePanel(of, block, 0, block.count, v.Data(), u.Panel(panel), u.Apart(), panel, m.Data(), m_apart, y,
                    first ? next : Ahead<false>(), first ? result : Ahead<true>(), first ? beside : Ahead<false>(), part);
    }
  }
}

// Few channels, whose filters stay near: each block of tiles goes all the way.
void ConvolveByTiles(const Convolution& of, const float* x, const float* filter, bool transposed, const float* zeros,
                     int64_t group, ResultSums& sums, float* y) {
  const NearFilters u(of, filter, transposed);
  const int64_t size = TilesAtOnce(of), blocks = (of.Tiles() + size - 1) / size, tasks = std::min<int64_t>(64, blocks);
  if (group == 0) sums.Expect(tasks);
  Workers().Run(tasks, [&](int64_t task) {
    const int64_t first = blocks * task / tasks * size, last = std::min(of.Tiles(), blocks * (task + 1) / tasks * size);
    ConvolveTiles(of, x, u, zeros, first, last, sums.Of(of, task, first, last, group), y);
  });
}

// Many channels: as many tiles at a time as stay not far, for each of which every panel of filters is read once.
void ConvolveByPanels(const Convolution& of, const float* x, const float* filter, bool transposed, const float* zeros,
                      int64_t group, ResultSums& sums, float* y) {
  const int64_t size = TilesNotFar(of, of.from), panel = of.Panel();
  const Workspace v(kPoints * Block(0, size).Apart(of.from));
  constexpr int64_t part = 16, near = 64;  // tiles that one thread transforms, and whose products stay near
  const int64_t u_apart = of.from * panel + kLanes, m_apart = near * panel + kLanes;
  // Each channel is of one task, block after block.
  if (group == 0) sums.Expect(1);
  const auto whole = sums.Of(of, 0, 0, of.Tiles(), group);
  for (int64_t first = 0; first < of.Tiles(); first += size) {
    const Block block(first, std::min(size, of.Tiles() - first));
    Workers().Run((block.count + part - 1) / part, [&](int64_t i) {
      TilesToTransformDomain(of, x, zeros, block, i * part, std::min((i + 1) * part, block.count), v.Data());
    });
    Workers().Run(of.to / panel, [&](int64_t p) {
      const Workspace u(kPoints * u_apart), m(kPoints * m_apart);
      FiltersToTransformDomain(of, filter, transposed, p, 0, of.from, u.Data(), u_apart);
      for (int64_t t = 0; t < block.count; t += near)
        ConvolvePanel(of, block, t, std::min(t + near, block.count), v.Data(), u.Data(), u_apart, p, m.Data(), m_apart, y, {},
                      {of, y, of.ResultPixels(), of.ToApart(), block.begin + t, near, p * panel, panel},
                      {of, whole.sums.images, of.ResultPixels(), of.ToApart(), block.begin + t, near, p * panel, panel}, whole);
    });
  }
}

#if defined(HAS_AMX)
/* By matrices, of numbers in parts */

// At every point the 16 numbers of each of two transforms to a row of their parts' registers, `apart` numbers from point to point.
template <Order order>
BFLOAT16 void PointsToParts(const float (*points)[2 * kLanes], int64_t row, float* to, int64_t apart) {
  for (int64_t point = 0; point < kPoints; point++, to += apart)
    StoreParts<order>(_mm512_load_ps(points[point]), _mm512_load_ps(points[point] + kLanes),
                      reinterpret_cast<Bfloat16*>(to) + row * kFactors);
}

// 16 tiles at most, from one on, to the rows of registers: [from / 32] of them at every point, `next` numbers from one to the other.
void TilesToParts(const Convolution& of, const float* x, const float* zeros, int64_t tile, int64_t count, float* v, int64_t next,
                  int64_t apart) {
  for (int64_t t = 0; t < count; t++) {
    const Part part = PixelsOf(of, x, tile + t, zeros);
    for (int64_t c = 0; c < of.from; c += kFactors) {
      alignas(64) float points[kPoints][2 * kLanes];
      for (int64_t lane = 0; lane < 2 * kLanes; lane += kLanes)
        TileToTransformDomain(of, part, c + lane, points[0] + lane, 2 * kLanes);
      PointsToParts<Order::kBeside>(points, t, v + c / kFactors * next, apart);
    }
  }
}

// Some input channels of one panel of output channels to the columns of registers: [from / 32, 2] of them at every point.
void FiltersToParts(const Convolution& of, const float* filter, bool transposed, int64_t panel, int64_t begin, int64_t end, float* u,
                    int64_t apart) {
  EachWeights(of, filter, transposed, panel, begin, end, [&](int64_t c, int64_t lane, auto weights, int64_t next) {
    float* to = u + Wholes(c / kFactors * 2 + lane / kLanes);
    for (int64_t i = 0; i < kLanes; i += 2) {
      alignas(64) float points[kPoints][2 * kLanes];
      for (int64_t j = 0; j < 2; j++) WeightsToTransformDomain<false>(weights(i + j), next, points[0] + j * kLanes, 2 * kLanes);
      PointsToParts<Order::kInTurn>(points, (c % kFactors + i) / 2, to, apart);
    }
  });
}

// Neither so few channels that taking numbers apart costs more than it saves, nor so many that their filters would come from far.
bool PaysByPoints(const Convolution& of) {
  const auto pays = [](int64_t channels) { return channels % kFactors == 0 && channels >= 128 && channels <= 320; };
  return HasMatrices() && !of.bfloat16 && pays(of.from) && pays(of.to);
}

// Products are faster than memory: a point at a time, of as many tiles as stay not far, so that its filters stay near.
void ConvolveByPoints(const Convolution& of, const float* x, const float* filter, bool transposed, const float* zeros,
                      int64_t group, ResultSums& sums, float* y) {
  constexpr int64_t part = kRows, channels = kFactors;  // tiles, and input channels of filters, that one thread transforms
  const int64_t size = std::min(RoundUp(of.Tiles(), part), RoundUp((1 << 15) / of.from, 2 * part)), panel = of.Panel(),
                panels = of.to / panel, lines = of.from / channels, rows = size / part, v_next = Wholes(rows),
                v_apart = lines * v_next + kLanes, u_panel = Wholes(2 * lines), u_apart = panels * u_panel + kLanes,
                m_panel = size * panel, m_apart = panels * m_panel + kLanes;
  const Workspace v(kPoints * v_apart), u(kPoints * u_apart), m(kPoints * m_apart);
  if (group == 0) sums.Expect((of.Tiles() + part - 1) / part);
  for (int64_t first = 0; first < of.Tiles(); first += size) {
    const Block block(first, std::min(size, of.Tiles() - first));
    const int64_t parts = (block.count + part - 1) / part;
    const auto count = [&](int64_t i) { return std::min(part, block.count - i * part); };
    Workers().Run(parts + (first == 0 ? panels * lines : 0), [&](int64_t i) {
      if (i < parts) return TilesToParts(of, x, zeros, first + i * part, count(i), v.Data() + Wholes(i), v_next, v_apart);
      const int64_t p = (i - parts) / lines, line = (i - parts) % lines;
      FiltersToParts(of, filter, transposed, p, line * channels, (line + 1) * channels, u.Data() + p * u_panel, u_apart);
    });
    Workers().Run(kPoints, [&](int64_t point) {
      const Registers registers(kRows);
      const Steps down{kWhole, rows * kWhole}, across{kWhole, 2 * kWhole};
      for (int64_t t = 0; t < block.count; t += 2 * part) {
        const auto multiply = t + part < block.count ? MultiplyParts<2, 2> : MultiplyParts<1, 2>;
        const auto* tiles = reinterpret_cast<const Bfloat16*>(v.Data() + point * v_apart + Wholes(t / part));
        for (int64_t p = 0; p < panels; p++)
          multiply(tiles, down, reinterpret_cast<const Bfloat16*>(u.Data() + point * u_apart + p * u_panel), across, lines, false,
                   m.Data() + point * m_apart + p * m_panel + t * panel, panel);
      }
    });
    Workers().Run(parts, [&](int64_t i) {
      const int64_t begin = i * part, end = begin + count(i);
      const auto own = sums.Of(of, (first + begin) / part, first + begin, first + end, group);
      for (int64_t p = 0; p < panels; p++)
        PanelFromTransformDomain(of, block, begin, end, m.Data() + p * m_panel + begin * panel, m_apart, p, y, own);
    });
  }
}
#endif

auto WayOf(const Convolution& of) {
#if defined(HAS_AMX)
  if (PaysByPoints(of)) return ConvolveByPoints;
#endif
  return of.from * of.to <= 128 * 128 ? ConvolveByTiles : ConvolveByPanels;
}

void Convolve(Convolution of, const float* x, const float* filter, bool transposed, ResultSums sums, float* y) {
  const std::vector<float> zeros(of.width * of.FromApart(), 0.0f);
  for (int64_t group = 0; group < of.groups; group++, of.first += of.from)
    WayOf(of)(of, x + group * of.from, filter + group * (transposed ? of.from : of.to), transposed, zeros.data(), group, sums, y + group * of.to);
}

// A convolution of some images and one of its result, which is finished. Where filters stay near, so does what is between the two: a few
// images at a time.
void ConvolveTwice(const Convolution& one, const Convolution& other, const float* x, const float* filter, const Finish& between,
                   const float* second, const Finish& after, float* y) {
  const ResultSums first_sums(between), second_sums(after);
  const auto pixels = [](const Convolution& of) { return of.height * of.width; };
  if (WayOf(one) != ConvolveByTiles || WayOf(other) != ConvolveByTiles) {
    const Workspace h(one.n * pixels(one) * one.to);
    Convolve(one, x, filter, false, first_sums, h.Data());
    return Convolve(other, h.Data(), second, false, second_sums, y);
  }
  const std::vector<float> zeros(one.width * std::max(one.from, one.to), 0.0f);
  const NearFilters u(one, filter, false), w(other, second, false);
  const int64_t tiles = one.Tiles() / one.n, few = (TilesAtOnce(one) + tiles - 1) / tiles, parts = (one.n + few - 1) / few,
                tasks = std::min<int64_t>(64, parts);
  Workers().Run(tasks, [&](int64_t task) {
    const Workspace h(few * pixels(one) * one.to);
    const auto some = [&](Convolution of, int64_t image) {
      of.n = std::clamp<int64_t>(one.n - image, 0, few);
      return of;
    };
    for (int64_t i = parts * task / tasks; i < parts * (task + 1) / tasks; i++) {
      const int64_t image = i * few, next = image + few;
      const auto of = some(one, image), then = some(one, next), with = some(other, image);
      const int64_t count = of.Tiles(), at = image * pixels(other) * other.to;
      ConvolveTiles(of, x + image * pixels(one) * one.from, u, zeros.data(), 0, count, first_sums.Of(of, 0, 0, count, 0), h.Data());
      auto part = second_sums.Of(with, 0, 0, count, 0);
      if (part.sums.images != nullptr) part.sums.images += at;
      const Ahead<false> ahead =
          then.n == 0 ? Ahead<false>() : Ahead<false>(then, x + next * pixels(one) * one.from, then.GivenPixels(), then.from, 0, then.Tiles(), 0, then.from);
      ConvolveTiles(with, h.Data(), w, zeros.data(), 0, count, part, y + at, ahead);
    }
  });
}

/* The gradient to the filter */

// Tiles of images, v as above, and of the gradient, d [36, to / panel, room, panel].
void TilesForFilter(const Convolution& of, const float* x, const float* dy, const float* zeros, const Block& block,
                    int64_t begin, int64_t end, float* v, float* d) {
  const int64_t panel = of.Panel();
  const auto transform = of.bfloat16 ? GradientTileToTransformDomain<true> : GradientTileToTransformDomain<false>;
  TilesToTransformDomain(of, x, zeros, block, begin, end, v);
  for (int64_t t = begin; t < end; t++) {
    const Part part = GradientOf(of, dy, block.begin + t, zeros);
    for (int64_t k = 0; k < of.to; k += kLanes)
      transform(part, k, d + (k / panel * block.room + t) * panel + k % panel, block.Apart(of.to));
  }
}

// For 16 input channels and one panel of output channels at one point: u [16, panel] = or += what the tiles of a block give.
void MultiplyForFilter(const Convolution& of, const Block& block, const float* v, const float* d, bool add, float* u,
                       int64_t next) {
  const int64_t panel = of.Panel(), rows = RowsFor(panel);
  const auto multiply = add ? MultiplyFor<1, kLanes, true>(panel) : MultiplyFor<1, kLanes, false>(panel);
  for (int64_t row = 0; row < kLanes; row += rows) multiply(v + row, 1, 0, block.count, d, u + row * next, next);
}

// For all points, what the tiles of a block give to the sums u [36, rows, columns] of some input and output channels.
void AddToSums(const Convolution& of, const Block& block, const float* v, const float* d, int64_t c, int64_t rows, int64_t k,
               int64_t columns, bool add, float* u, int64_t apart, const Ahead<false>& next_x, const Ahead<false>& next_dy) {
  for (int64_t p = 0; p < kPoints; p++) {
    next_x.Fetch(p);
    next_dy.Fetch(p);
    for (int64_t j = 0; j < columns; j += of.Panel()) {
      for (int64_t i = 0; i < rows; i += kLanes)
        MultiplyForFilter(of, block, v + p * block.Apart(of.from) + (c + i) * block.room,
                          d + p * block.Apart(of.to) + (k + j) * block.room, add, u + p * apart + i * columns + j, columns);
    }
  }
}

#if defined(HAS_AMX)
/* … by matrices: what is summed over are tiles, 32 of them in a register */

// 16 channels of 32 tiles, of which there are `count`, at every point to the rows of registers of parts. tile(t, to, apart) gives one.
template <typename Tile>
void TilesToRows(int64_t count, Tile tile, float* v, int64_t apart) {
  const Workspace points(kPoints * kFactors * kLanes);
  for (int64_t t = 0; t < kFactors; t++) {
    float* to = points.Data() + t * kLanes;
    if (t < count) {
      tile(t, to, kFactors * kLanes);
      continue;
    }
    for (int64_t point = 0; point < kPoints; point++) std::fill_n(to + point * kFactors * kLanes, kLanes, 0.0f);
  }
  for (int64_t point = 0; point < kPoints; point++)
    ColumnsToParts(points.Data() + point * kFactors * kLanes, reinterpret_cast<Bfloat16*>(v + point * apart));
}

// The same to the columns.
template <typename Tile>
void TilesToColumns(int64_t count, Tile tile, float* d, int64_t apart) {
  for (int64_t t = 0; t < kFactors; t += 2) {
    alignas(64) float points[kPoints][2 * kLanes] = {};
    for (int64_t i = 0; i < 2 && t + i < count; i++) tile(t + i, points[0] + i * kLanes, 2 * kLanes);
    PointsToParts<Order::kInTurn>(points, t / 2, d, apart);
  }
}

// A point at a time, of as many tiles as stay not far. v is [36, from / 16, size / 32] registers in parts, d [36, to / 32, size / 32, 2],
// and u the sums [36, from / 32, to / 32, 32, 32].
void FilterByPoints(const Convolution& of, const float* x, const float* dy, const float* zeros, float* filter) {
  const int64_t size = std::min(RoundUp(of.Tiles(), kFactors), RoundUp((1 << 16) / (of.from + of.to), kFactors)),
                lines = size / kFactors, rows = of.from / kRows, columns = of.to / kRows, v_apart = Wholes(rows * lines) + kLanes,
                d_apart = Wholes(columns * lines) + kLanes, u_apart = of.from * of.to + kLanes;
  const Workspace v(kPoints * v_apart), d(kPoints * d_apart), u(kPoints * u_apart);
  // Sums of 32 by 32 channels lie beside each other.
  constexpr int64_t side = 2 * kRows;
  const auto at = [&](int64_t c, int64_t k) { return ((c / side * (of.to / side) + k / side) * side + c % side) * side + k % side; };
  for (int64_t first = 0; first < of.Tiles(); first += size) {
    const int64_t count = std::min(size, of.Tiles() - first), times = (count + kFactors - 1) / kFactors;
    Workers().Run(times * (rows + columns), [&](int64_t i) {
      const int64_t time = i / (rows + columns), block = i % (rows + columns), k = block - rows,
                    begin = first + time * kFactors, some = std::min(kFactors, first + count - begin);
      if (block < rows)
        TilesToRows(some, [&](int64_t t, float* to, int64_t apart) {
          TileToTransformDomain(of, PixelsOf(of, x, begin + t, zeros), block * kLanes, to, apart);
        }, v.Data() + Wholes(block * lines + time), v_apart);
      else
        TilesToColumns(some, [&](int64_t t, float* to, int64_t apart) {
          GradientTileToTransformDomain<false>(GradientOf(of, dy, begin + t, zeros), k * kLanes, to, apart);
        }, d.Data() + Wholes((k / 2 * lines + time) * 2 + k % 2), d_apart);
    });
    Workers().Run(kPoints, [&](int64_t point) {
      const Registers registers(kRows);
      const Steps down{lines * kWhole, kWhole}, across{kWhole, 2 * kWhole};
      for (int64_t row = 0; row < rows; row += 2)
        for (int64_t k = 0; k < columns; k += 2)
          MultiplyParts<2, 2>(reinterpret_cast<const Bfloat16*>(v.Data() + point * v_apart + Wholes(row * lines)), down,
                              reinterpret_cast<const Bfloat16*>(d.Data() + point * d_apart + Wholes(k * lines)), across, times,
                              first > 0, u.Data() + point * u_apart + at(row * kRows, k * kLanes), side);
    });
  }
  Workers().Run(of.from, [&](int64_t c) {
    for (int64_t k = 0; k < of.to; k += kLanes)
      WeightsFromTransformDomain(u.Data() + at(c, k), u_apart, filter + c * of.ToApart() + k, of.from * of.ToApart());
  });
}
#endif

// Few channels: the sums are small, so that each of some groups of tiles has its own.
void FilterByTiles(const Convolution& of, const float* x, const float* dy, const float* zeros, float* filter) {
  const int64_t size = std::clamp<int64_t>(1024 / std::max(of.from, of.to), 16, 64) / kLanes * kLanes,
                blocks = (of.Tiles() + size - 1) / size, groups = std::clamp<int64_t>(of.Tiles() / 64, 1, 16),
                row = of.from * of.to, apart = row + kLanes, weights = 9 * row;
  const Workspace parts(groups * weights);
  Workers().Run(groups, [&](int64_t group) {
    const Block full(0, size);
    const Workspace v(kPoints * full.Apart(of.from)), d(kPoints * full.Apart(of.to)), u(kPoints * apart);
    const int64_t first = blocks * group / groups, last = blocks * (group + 1) / groups;
    for (int64_t i = first; i < last; i++) {
      const Block block(i * size, std::min(size, of.Tiles() - i * size));
      TilesForFilter(of, x, dy, zeros, block, 0, block.count, v.Data(), d.Data());
      AddToSums(of, block, v.Data(), d.Data(), 0, of.from, 0, of.to, i != first, u.Data(), apart,
                {of, x, of.GivenPixels(), of.FromApart(), block.begin + size, size, 0, of.from},
                {of, dy, of.ResultPixels(), of.ToApart(), block.begin + size, size, 0, of.to});
    }
    for (int64_t i = 0; i < row; i += kLanes)
      WeightsFromTransformDomain(u.Data() + i, apart, parts.Data() + group * weights + i, row);
  });
  Workers().Run(9, [&](int64_t i) {
    for (int64_t group = 1; group < groups; group++) Add(parts.Data() + group * weights + i * row, row, parts.Data() + i * row);
    for (int64_t c = i * of.from; c < (i + 1) * of.from; c++)
      std::copy_n(parts.Data() + c * of.to, of.to, filter + c * of.ToApart());
  });
}

// Many channels: the sums of some of them stay near, and as many tiles at a time as stay not far.
void FilterByPanels(const Convolution& of, const float* x, const float* dy, const float* zeros, float* filter) {
  const int64_t size = TilesNotFar(of, (of.from + of.to) / 2), blocks = (of.Tiles() + size - 1) / size;
  const Block full(0, size);
  const Workspace v(kPoints * full.Apart(of.from)), d(kPoints * full.Apart(of.to));
  constexpr int64_t rows = 64, part = 16;  // input channels of a task, and tiles that one thread transforms
  const int64_t panel = of.Panel(), parts = (of.from + rows - 1) / rows, apart = rows * panel + kLanes,
                sums = kPoints * apart, tasks = of.to / panel * parts;
  // With one block, each task has done with its sums before the next one.
  std::optional<Workspace> shared;
  if (blocks > 1) shared.emplace(tasks * sums);
  for (int64_t b = 0; b < blocks; b++) {
    const Block block(b * size, std::min(size, of.Tiles() - b * size));
    Workers().Run((block.count + part - 1) / part, [&](int64_t i) {
      TilesForFilter(of, x, dy, zeros, block, i * part, std::min((i + 1) * part, block.count), v.Data(), d.Data());
    });
    Workers().Run(tasks, [&](int64_t i) {
      const int64_t k = i / parts * panel, c = i % parts * rows, count = std::min(rows, of.from - c);
      std::optional<Workspace> own;
      if (!shared) own.emplace(sums);
      float* u = shared ? shared->Data() + i * sums : own->Data();
      AddToSums(of, block, v.Data(), d.Data(), c, count, k, panel, b > 0, u, apart, {}, {});
      for (int64_t each = 0; b + 1 == blocks && each < count; each++) {
        for (int64_t lane = 0; lane < panel; lane += kLanes)
          WeightsFromTransformDomain(u + each * panel + lane, apart, filter + (c + each) * of.ToApart() + k + lane,
                                     of.from * of.ToApart());
      }
    });
  }
}

auto FilterWayOf(const Convolution& of) {
#if defined(HAS_AMX)
  if (PaysByPoints(of)) return FilterByPoints;
#endif
  return of.from * of.to <= 64 * 64 ? FilterByTiles : FilterByPanels;
}

void ConvolveToFilter(Convolution of, const float* x, const float* dy, float* filter) {
  const std::vector<float> zeros(of.width * std::max(of.FromApart(), of.ToApart()), 0.0f);
  for (int64_t group = 0; group < of.groups; group++, of.first += of.from)
    FilterWayOf(of)(of, x + group * of.from, dy + group * of.to, zeros.data(), filter + group * of.to);
}
#else
bool CanConvolve() { return false; }

struct ResultSums {
  ResultSums() = default;
  explicit ResultSums(ImageMoments*) {}
  explicit ResultSums(NormGradient*) {}
  explicit ResultSums(const Finish&) {}
};

void Convolve(Convolution, const float*, const float*, bool, ResultSums, float*) {}

void ConvolveTwice(const Convolution&, const Convolution&, const float*, const float*, const Finish&, const float*, const Finish&, float*) {}

void ConvolveToFilter(Convolution, const float*, const float*, float*) {}
#endif

Convolution ConvolutionOf(TF_Tensor* images, int64_t to, const Settings& with, const Normal& normal) {
  const int64_t groups = std::max<int64_t>(1, with.groups);
  const bool upsampled = with.upsampled && !with.transposed, summed = with.upsampled && with.transposed;
  const int64_t times = upsampled ? 2 : 1;
  return {TF_Dim(images, 0), times * TF_Dim(images, 1), times * TF_Dim(images, 2), TF_Dim(images, 3) / groups, to / groups,
          with.bfloat16, upsampled, summed, groups, &normal};
}

void Check(const Convolution& of, TF_Tensor* images, int64_t to, Context& context) {
  context.Expect(of.FromApart() == TF_Dim(images, 3) && of.ToApart() == to, "the channels do not divide into groups");
  context.Expect(of.from > 0 && of.to > 0 && of.from % 16 == 0 && of.to % 16 == 0, "the channels are no multiple of 16");
  context.Expect(of.Tiles() > 0, "there are no images");
  context.Expect(!of.summed || (of.height % 2 == 0 && of.width % 2 == 0), "images of odd sides were not upsampled");
  context.Expect(CanConvolve(), "the processor has no AVX-512");
}

}  // namespace

// Images [n, h, w, from] and a filter [3, 3, from, to] to [n, h, w, to], with one zero on each side; to [n, 2 h, 2 w, to]
// where they are to be upsampled. Transposed, the filter is [3, 3, to, from] and the result the gradient to the images, which
// have half the sides where they were upsampled. In groups, the filter is [3, 3, from / groups, to].
void Conv3x3(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *tf = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(tx) == 4 && TF_NumDims(tf) == 4 && TF_Dim(tf, 0) == 3 && TF_Dim(tf, 1) == 3,
                 "no images, or no filter of 3 by 3");
  if (!context.Ok()) return;
  // A filter has the input channels of one group, and the output channels of all of them.
  const int64_t groups = std::max<int64_t>(1, with.groups), to = with.transposed ? groups * TF_Dim(tf, 2) : TF_Dim(tf, 3);
  const auto normal = Normal::Of(with, context, 2, TF_Dim(tx, 3));
  const auto of = ConvolutionOf(tx, to, with, normal);
  context.Expect(with.transposed ? TF_Dim(tf, 3) == of.FromApart() : TF_Dim(tf, 2) == of.from,
                 "the filter is for another number of channels");
  Check(of, tx, to, context);
  const int64_t by = of.summed ? 2 : 1;
  float* y = context.Output(0, {of.n, of.height / by, of.width / by, to});
  auto moments = ImageMoments::Of(context, 1, to);
  if (!context.Ok()) return;
  const auto finish = Finish::Of(with, context, 6, to, of.n * of.height * of.width * to);
  if (!context.Ok()) return;
  Convolve(of, Data(tx), Data(tf), with.transposed, finish.Any() ? ResultSums(finish) : ResultSums(&moments), y);
  if (moments.Any()) moments.Finish();
}

// Images [n, h, w, from], a filter [3, 3, from, through], another one [3, 3, through, to] to [n, h, w, to]: two convolutions, with the
// batch norm before them, what is done between them, and what is done with the result.
void Conv3x3Twice(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *tf = context.InputTensor(1), *ts = context.InputTensor(10);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(tx) == 4, "no images");
  for (TF_Tensor* filter : {tf, ts})
    context.Expect(TF_NumDims(filter) == 4 && TF_Dim(filter, 0) == 3 && TF_Dim(filter, 1) == 3, "no filter of 3 by 3");
  if (!context.Ok()) return;
  const int64_t through = TF_Dim(tf, 3), to = TF_Dim(ts, 3);
  context.Expect(TF_Dim(tf, 2) == TF_Dim(tx, 3) && TF_Dim(ts, 2) == through, "a filter is for another number of channels");
  const auto before = Normal::Of(with, context, 2, TF_Dim(tx, 3));
  const Normal none;
  const auto one = ConvolutionOf(tx, through, with, before);
  Convolution other = one;
  other.from = through, other.to = to, other.normal = &none;
  Check(one, tx, through, context);
  context.Expect(to > 0 && to % 16 == 0, "the channels are no multiple of 16");
  const auto between = Finish(Normal::Of(context, 6, through, with.between_epsilon, Activation::Of(with.between_activation)));
  if (!context.Ok()) return;
  context.Expect(between.Any(), "there is no norm between the two");
  const auto after = Finish::Of(with, context, 11, to, one.n * one.height * one.width * to);
  float* y = context.Output(0, {one.n, one.height, one.width, to});
  if (context.Ok()) ConvolveTwice(one, other, Data(tx), Data(tf), between, Data(ts), after, y);
}

// The gradient to the result and the filter [3, 3, from / groups, to], where what was convolved are x normalised, to the gradients to
// x, scale and offset.
void Conv3x3ToImages(const Settings& with, Context& context) {
  TF_Tensor *td = context.InputTensor(0), *tf = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(td) == 4 && TF_NumDims(tf) == 4 && TF_Dim(tf, 0) == 3 && TF_Dim(tf, 1) == 3,
                 "no images, or no filter of 3 by 3");
  if (!context.Ok()) return;
  const int64_t from = std::max<int64_t>(1, with.groups) * TF_Dim(tf, 2);
  const Normal none;
  const auto of = ConvolutionOf(td, from, with, none);
  context.Expect(TF_Dim(tf, 3) == of.FromApart(), "the filter is for another number of channels");
  Check(of, td, from, context);
  auto through = NormGradient::Of(with, context, 2, of.n * of.height * of.width, from);
  float* dx = context.Output(0, {of.n, of.height, of.width, from});
  float *to_scale = context.OutputVector(1, from), *to_offset = context.OutputVector(2, from);
  if (!context.Ok()) return;
  Convolve(of, Data(td), Data(tf), true, ResultSums(&through), dx);
  through.Finish(dx, to_scale, to_offset);
}

// Images and the gradient to the result to the gradient to the filter.
void Conv3x3ToFilter(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *td = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(tx) == 4 && TF_NumDims(td) == 4, "no images");
  if (!context.Ok()) return;
  const auto normal = Normal::Of(with, context, 2, TF_Dim(tx, 3));
  const auto of = ConvolutionOf(tx, TF_Dim(td, 3), with, normal);
  context.Expect(TF_Dim(td, 0) == of.n && TF_Dim(td, 1) == of.height && TF_Dim(td, 2) == of.width,
                 "the images are of another size");
  Check(of, tx, TF_Dim(td, 3), context);
  float* filter = context.Output(0, {3, 3, of.from, of.ToApart()});
  if (!context.Ok()) return;
  ConvolveToFilter(of, Data(tx), Data(td), filter);
}

}  // namespace undistill
