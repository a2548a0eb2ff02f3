// Convolutions of 3 by 3, stride 1 and one zero on each side.
//
// Winograd's way, F(2×2, 3×3) of Lavin and Gray (2016): 16 products for a tile of four pixels where a convolution has 36. It
// pays where vectors are so long that products are the limit. A tile's sixteen numbers are called places here.

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

#include "operation.h"
#include "workers.h"

namespace undistill {
namespace {

// Images [n, height, width, from], of even sides, to [n, height, width, to].
struct Convolution {
  int64_t n, height, width, from, to;

  int64_t TilesDown() const { return height / 2; }
  int64_t TilesAcross() const { return width / 2; }
  int64_t Tiles() const { return n * TilesDown() * TilesAcross(); }
  // Output channels that are dealt with together.
  int64_t Panel() const { return to % 32 == 0 ? 32 : 16; }
};

#if defined(__x86_64__)
#define WIDE __attribute__((target("avx512f")))
#define WIDE_INLINE __attribute__((target("avx512f"), always_inline)) inline

constexpr int64_t kLanes = 16, kRows = 8, kPlaces = 16;

// Memory for one operation, which keeps its pages for the next one. Aligned to a line of the cache.
class Workspace {
 public:
  explicit Workspace(int64_t floats) {
    std::lock_guard<std::mutex> lock(mutex());
    auto& free = buffers();
    const auto large = std::find_if(free.begin(), free.end(), [&](const Buffer& each) { return each.floats >= floats; });
    if (large != free.end()) {
      buffer_ = *large;
      free.erase(large);
      return;
    }
    // The others are too small for what is asked for now.
    for (const Buffer& each : free) std::free(each.data);
    free.clear();
    const int64_t bytes = (floats * static_cast<int64_t>(sizeof(float)) + 63) / 64 * 64;
    buffer_ = {static_cast<float*>(std::aligned_alloc(64, bytes)), floats};
  }
  ~Workspace() {
    std::lock_guard<std::mutex> lock(mutex());
    buffers().push_back(buffer_);
  }
  Workspace(const Workspace&) = delete;

  float* Data() const { return buffer_.data; }

 private:
  struct Buffer {
    float* data;
    int64_t floats;
  };
  static std::mutex& mutex() {
    static auto* one = new std::mutex;
    return *one;
  }
  static std::vector<Buffer>& buffers() {
    static auto* all = new std::vector<Buffer>;
    return *all;
  }
  Buffer buffer_;
};

// Where the pixels of a tile are, for i, j in 0..3 from one above and left of it; outside of the image, zeros.
void PixelsOf(const Convolution& of, const float* x, int64_t tile, const float* zeros, const float* pixels[16]) {
  const int64_t across = tile % of.TilesAcross(), down = tile / of.TilesAcross() % of.TilesDown(),
                image = tile / of.TilesAcross() / of.TilesDown();
  for (int64_t i = 0; i < 4; i++) {
    for (int64_t j = 0; j < 4; j++) {
      const int64_t row = 2 * down - 1 + i, column = 2 * across - 1 + j;
      const bool inside = row >= 0 && row < of.height && column >= 0 && column < of.width;
      pixels[4 * i + j] = inside ? x + ((image * of.height + row) * of.width + column) * of.from : zeros;
    }
  }
}

// Where the first of the 2×2 pixels of a tile's result is.
int64_t CornerOf(const Convolution& of, int64_t tile) {
  const int64_t across = tile % of.TilesAcross(), above = tile / of.TilesAcross();
  return (2 * above * of.width + 2 * across) * of.to;
}

// 3×3 numbers g of a filter to the 4×4 of G g Gᵀ.
WIDE_INLINE void ToFilterPlaces(const __m512 g[3][3], float* u, int64_t place) {
  const __m512 half = _mm512_set1_ps(0.5f);
  __m512 rows[4][3];
  for (int s = 0; s < 3; s++) {
    const __m512 even = _mm512_mul_ps(half, _mm512_add_ps(g[0][s], g[2][s])), odd = _mm512_mul_ps(half, g[1][s]);
    rows[0][s] = g[0][s];
    rows[1][s] = _mm512_add_ps(even, odd);
    rows[2][s] = _mm512_sub_ps(even, odd);
    rows[3][s] = g[2][s];
  }
  for (int r = 0; r < 4; r++) {
    const __m512 even = _mm512_mul_ps(half, _mm512_add_ps(rows[r][0], rows[r][2])),
                 odd = _mm512_mul_ps(half, rows[r][1]);
    float* to = u + 4 * r * place;
    _mm512_storeu_ps(to, rows[r][0]);
    _mm512_storeu_ps(to + place, _mm512_add_ps(even, odd));
    _mm512_storeu_ps(to + 2 * place, _mm512_sub_ps(even, odd));
    _mm512_storeu_ps(to + 3 * place, rows[r][2]);
  }
}

// 4×4 numbers u of a filter's gradient to the 3×3 of Gᵀ u G: what ToFilterPlaces turned around is.
WIDE_INLINE void FromFilterPlaces(const float* u, int64_t place, float* filter, int64_t next) {
  const __m512 half = _mm512_set1_ps(0.5f);
  __m512 rows[3][4];
  for (int s = 0; s < 4; s++) {
    const float* from = u + s * place;
    const __m512 u0 = _mm512_loadu_ps(from), u1 = _mm512_loadu_ps(from + 4 * place),
                 u2 = _mm512_loadu_ps(from + 8 * place), u3 = _mm512_loadu_ps(from + 12 * place);
    const __m512 even = _mm512_mul_ps(half, _mm512_add_ps(u1, u2));
    rows[0][s] = _mm512_add_ps(u0, even);
    rows[1][s] = _mm512_mul_ps(half, _mm512_sub_ps(u1, u2));
    rows[2][s] = _mm512_add_ps(even, u3);
  }
  for (int r = 0; r < 3; r++) {
    const __m512 even = _mm512_mul_ps(half, _mm512_add_ps(rows[r][1], rows[r][2]));
    float* to = filter + 3 * r * next;
    _mm512_storeu_ps(to, _mm512_add_ps(rows[r][0], even));
    _mm512_storeu_ps(to + next, _mm512_mul_ps(half, _mm512_sub_ps(rows[r][1], rows[r][2])));
    _mm512_storeu_ps(to + 2 * next, _mm512_add_ps(even, rows[r][3]));
  }
}

// The 4×4 pixels d of a tile to Bᵀ d B; `next` is how far 16 channels are from those after them.
WIDE_INLINE void ToTilePlaces(const float* const pixels[16], int64_t channels, float* v, int64_t place, int64_t next) {
  for (int64_t c = 0; c < channels; c += kLanes, v += next) {
    __m512 rows[4][4];
    for (int j = 0; j < 4; j++) {
      const __m512 d0 = _mm512_loadu_ps(pixels[j] + c), d1 = _mm512_loadu_ps(pixels[4 + j] + c),
                   d2 = _mm512_loadu_ps(pixels[8 + j] + c), d3 = _mm512_loadu_ps(pixels[12 + j] + c);
      rows[0][j] = _mm512_sub_ps(d0, d2);
      rows[1][j] = _mm512_add_ps(d1, d2);
      rows[2][j] = _mm512_sub_ps(d2, d1);
      rows[3][j] = _mm512_sub_ps(d1, d3);
    }
    for (int i = 0; i < 4; i++) {
      float* to = v + 4 * i * place;
      _mm512_storeu_ps(to, _mm512_sub_ps(rows[i][0], rows[i][2]));
      _mm512_storeu_ps(to + place, _mm512_add_ps(rows[i][1], rows[i][2]));
      _mm512_storeu_ps(to + 2 * place, _mm512_sub_ps(rows[i][2], rows[i][1]));
      _mm512_storeu_ps(to + 3 * place, _mm512_sub_ps(rows[i][1], rows[i][3]));
    }
  }
}

// The 4×4 products m of a tile to the 2×2 pixels of Aᵀ m A; `right` and `down` lead to the next ones.
WIDE_INLINE void FromTilePlaces(const float* m, int64_t place, float* y, int64_t right, int64_t down) {
  __m512 rows[2][4];
  for (int j = 0; j < 4; j++) {
    const float* from = m + j * place;
    const __m512 m0 = _mm512_loadu_ps(from), m1 = _mm512_loadu_ps(from + 4 * place),
                 m2 = _mm512_loadu_ps(from + 8 * place), m3 = _mm512_loadu_ps(from + 12 * place);
    rows[0][j] = _mm512_add_ps(m0, _mm512_add_ps(m1, m2));
    rows[1][j] = _mm512_sub_ps(_mm512_sub_ps(m1, m2), m3);
  }
  for (int i = 0; i < 2; i++) {
    _mm512_storeu_ps(y + i * down, _mm512_add_ps(rows[i][0], _mm512_add_ps(rows[i][1], rows[i][2])));
    _mm512_storeu_ps(y + i * down + right, _mm512_sub_ps(_mm512_sub_ps(rows[i][1], rows[i][2]), rows[i][3]));
  }
}

// The 2×2 pixels e of a tile's gradient to the 4×4 of A e Aᵀ: what FromTilePlaces turned around is.
WIDE_INLINE void ToGradientPlaces(const float* dy, int64_t right, int64_t down, float* d, int64_t place) {
  __m512 rows[4][2];
  for (int j = 0; j < 2; j++) {
    const __m512 e0 = _mm512_loadu_ps(dy + j * right), e1 = _mm512_loadu_ps(dy + j * right + down);
    rows[0][j] = e0;
    rows[1][j] = _mm512_add_ps(e0, e1);
    rows[2][j] = _mm512_sub_ps(e0, e1);
    rows[3][j] = _mm512_sub_ps(_mm512_setzero_ps(), e1);
  }
  for (int i = 0; i < 4; i++) {
    float* to = d + 4 * i * place;
    _mm512_storeu_ps(to, rows[i][0]);
    _mm512_storeu_ps(to + place, _mm512_add_ps(rows[i][0], rows[i][1]));
    _mm512_storeu_ps(to + 2 * place, _mm512_sub_ps(rows[i][0], rows[i][1]));
    _mm512_storeu_ps(to + 3 * place, _mm512_sub_ps(_mm512_setzero_ps(), rows[i][1]));
  }
}

// c [8, vectors · 16] = or += the sum over k of a[row i, k] b[k, vectors · 16].
template <int vectors, bool add>
WIDE_INLINE void Multiply(const float* a, int64_t row, int64_t column, const float* b, int64_t depth, float* c,
                          int64_t next) {
  __m512 sums[kRows][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; i++) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++)
      sums[i][v] = add ? _mm512_loadu_ps(c + i * next + v * kLanes) : _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < depth; k++, a += column, b += vectors * kLanes) {
    __m512 each[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) each[v] = _mm512_loadu_ps(b + v * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; i++) {
      const __m512 factor = _mm512_set1_ps(a[i * row]);
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v++) sums[i][v] = _mm512_fmadd_ps(factor, each[v], sums[i][v]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; i++) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) _mm512_storeu_ps(c + i * next + v * kLanes, sums[i][v]);
  }
}

template <bool add>
WIDE void MultiplyPanel(int64_t panel, const float* a, int64_t row, int64_t column, const float* b, int64_t depth,
                        float* c, int64_t next) {
  if (panel == 32)
    Multiply<2, add>(a, row, column, b, depth, c, next);
  else
    Multiply<1, add>(a, row, column, b, depth, c, next);
}

// Some input channels of one panel of output channels. `filter` is [3, 3, from, to]; transposed, it is [3, 3, to, from] and
// turned by 180 degrees, as for the gradient to the images. u is [16, to / panel, from, panel].
WIDE void TransformFilters(const Convolution& of, const float* filter, bool transposed, int64_t panel, int64_t begin,
                           int64_t end, float* u) {
  const auto [from, to] = std::make_pair(of.from, of.to);
  const __m512i ladder = _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                                            _mm512_set1_epi32(static_cast<int>(from)));
  for (int64_t c = begin; c < end; c++) {
    for (int64_t lane = 0; lane < of.Panel(); lane += kLanes) {
      const int64_t k = panel * of.Panel() + lane;
      __m512 g[3][3];
      for (int i = 0; i < 9; i++) {
        const float* one = filter + (transposed ? 8 - i : i) * from * to;
        g[i / 3][i % 3] = transposed ? _mm512_mask_i32gather_ps(_mm512_setzero_ps(), static_cast<__mmask16>(-1), ladder,
                                                                one + k * from + c, sizeof(float))
                                     : _mm512_loadu_ps(one + c * to + k);
      }
      ToFilterPlaces(g, u + (panel * from + c) * of.Panel() + lane, from * to);
    }
  }
}

// The result for `count` tiles from the one of number `begin` on. v and m are for this block alone.
WIDE void ConvolveTiles(const Convolution& of, const float* x, const float* u, const float* zeros, int64_t begin,
                        int64_t count, float* v, float* m, int64_t v_place, int64_t m_place, float* y) {
  const int64_t panel = of.Panel();
  for (int64_t t = 0; t < count; t++) {
    const float* pixels[16];
    PixelsOf(of, x, begin + t, zeros, pixels);
    ToTilePlaces(pixels, of.from, v + t * of.from, v_place, kLanes);
  }
  for (int64_t first = 0; first < of.to; first += panel) {
    for (int64_t place = 0; place < kPlaces; place++) {
      for (int64_t t = 0; t < count; t += kRows)
        MultiplyPanel<false>(panel, v + place * v_place + t * of.from, of.from, 1, u + (place * of.to + first) * of.from,
                             of.from, m + place * m_place + t * panel, panel);
    }
    for (int64_t t = 0; t < count; t++) {
      for (int64_t lane = 0; lane < panel; lane += kLanes)
        FromTilePlaces(m + t * panel + lane, m_place, y + CornerOf(of, begin + t) + first + lane, of.to,
                       of.width * of.to);
    }
  }
}

bool CanConvolve() {
  static const bool can = __builtin_cpu_supports("avx512f");
  return can;
}

void Convolve(const Convolution& of, const float* x, const float* filter, bool transposed, float* y) {
  // Tiles that a core's cache has room for, in whole rows of products.
  const int64_t block = std::clamp<int64_t>(8192 / of.from / kRows * kRows, 16, 64),
                blocks = (of.Tiles() + block - 1) / block;
  // A little more than a power of two apart, so that the sixteen do not displace one another in the cache.
  const int64_t v_place = block * of.from + kLanes, m_place = block * of.Panel() + kLanes;
  const Workspace u(kPlaces * of.from * of.to);
  constexpr int64_t some = 32;
  const int64_t parts = (of.from + some - 1) / some;
  Workers().Run(of.to / of.Panel() * parts, [&](int64_t i) {
    const int64_t begin = i % parts * some;
    TransformFilters(of, filter, transposed, i / parts, begin, std::min(begin + some, of.from), u.Data());
  });
  const std::vector<float> zeros(of.from, 0.0f);
  Workers().Run(blocks, [&](int64_t i) {
    const Workspace own(kPlaces * (v_place + m_place));
    const int64_t begin = i * block;
    ConvolveTiles(of, x, u.Data(), zeros.data(), begin, std::min(block, of.Tiles() - begin), own.Data(),
                  own.Data() + kPlaces * v_place, v_place, m_place, y);
  });
}

// For the tiles of a batch: v is [16, from / 16, batch, 16] and d [16, to / panel, batch, panel].
WIDE void TransformForFilter(const Convolution& of, const float* x, const float* dy, const float* zeros, int64_t tile,
                             int64_t t, int64_t batch, float* v, float* d) {
  const float* pixels[16];
  PixelsOf(of, x, tile, zeros, pixels);
  ToTilePlaces(pixels, of.from, v + t * kLanes, of.from * batch, batch * kLanes);
  const int64_t panel = of.Panel();
  for (int64_t k = 0; k < of.to; k += kLanes)
    ToGradientPlaces(dy + CornerOf(of, tile) + k, of.to, of.width * of.to,
                     d + (k / panel * batch + t) * panel + k % panel, of.to * batch);
}

WIDE void FilterRow(const float* u, const Convolution& of, int64_t c, float* filter) {
  for (int64_t k = 0; k < of.to; k += kLanes)
    FromFilterPlaces(u + c * of.to + k, of.from * of.to, filter + c * of.to + k, of.from * of.to);
}

// For 16 input channels at one place: u [16, from, to] = or += what `count` of a batch of tiles give.
void MultiplyForFilter(const Convolution& of, int64_t i, const float* v, const float* d, int64_t batch, int64_t count,
                       bool add, float* u) {
  const int64_t panel = of.Panel(), place = i / (of.from / kLanes);
  const auto multiply = add ? MultiplyPanel<true> : MultiplyPanel<false>;
  for (int64_t first = 0; first < of.to; first += panel) {
    for (int64_t half = 0; half < kLanes; half += kRows)
      multiply(panel, v + i * batch * kLanes + half, 1, kLanes, d + (place * of.to + first) * batch, count,
               u + (i * kLanes + half) * of.to + first, of.to);
  }
}

// The gradient to the filter [3, 3, from, to].
void ConvolveToFilter(const Convolution& of, const float* x, const float* dy, float* filter) {
  const int64_t size = kPlaces * of.from * of.to, tasks = kPlaces * of.from / kLanes;
  const std::vector<float> zeros(of.from, 0.0f);
  const auto transform = [&](int64_t tile, int64_t t, int64_t batch, const Workspace& v, const Workspace& d) {
    TransformForFilter(of, x, dy, zeros.data(), tile, t, batch, v.Data(), d.Data());
  };
  if (size <= kPlaces * 128 * 128) {
    // Few channels: the sums are small, so that each of some groups of tiles has its own.
    const int64_t batch = std::clamp<int64_t>(4096 / std::max(of.from, of.to), 16, 64),
                  batches = (of.Tiles() + batch - 1) / batch, groups = std::min<int64_t>(16, batches);
    const Workspace u(groups * size);
    Workers().Run(groups, [&](int64_t group) {
      const Workspace v(kPlaces * batch * of.from), d(kPlaces * batch * of.to);
      const int64_t from = batches * group / groups, to = batches * (group + 1) / groups;
      for (int64_t each = from; each < to; each++) {
        const int64_t begin = each * batch, count = std::min(batch, of.Tiles() - begin);
        for (int64_t t = 0; t < count; t++) transform(begin + t, t, batch, v, d);
        for (int64_t i = 0; i < tasks; i++)
          MultiplyForFilter(of, i, v.Data(), d.Data(), batch, count, each != from, u.Data() + group * size);
      }
    });
    Workers().Run(of.from, [&](int64_t c) {
      for (int64_t place = 0; place < kPlaces; place++) {
        float* sum = u.Data() + (place * of.from + c) * of.to;
        for (int64_t group = 1; group < groups; group++)
          for (int64_t k = 0; k < of.to; k++) sum[k] += sum[group * size + k];
      }
      FilterRow(u.Data(), of, c, filter);
    });
    return;
  }
  // Many channels: the sums are large, so that they are shared out, and as many tiles at a time as stay near.
  const int64_t batch = std::min(of.Tiles(), std::max<int64_t>(128, 65536 / (of.from + of.to)));
  const Workspace u(size), v(kPlaces * batch * of.from), d(kPlaces * batch * of.to);
  for (int64_t begin = 0; begin < of.Tiles(); begin += batch) {
    const int64_t count = std::min(batch, of.Tiles() - begin);
    constexpr int64_t some = 16;
    Workers().Run((count + some - 1) / some, [&](int64_t i) {
      for (int64_t t = i * some; t < std::min(i * some + some, count); t++) transform(begin + t, t, batch, v, d);
    });
    Workers().Run(tasks,
                  [&](int64_t i) { MultiplyForFilter(of, i, v.Data(), d.Data(), batch, count, begin > 0, u.Data()); });
  }
  Workers().Run(of.from, [&](int64_t c) { FilterRow(u.Data(), of, c, filter); });
}
#else
bool CanConvolve() { return false; }

void Convolve(const Convolution&, const float*, const float*, bool, float*) {}

void ConvolveToFilter(const Convolution&, const float*, const float*, float*) {}
#endif

void Check(const Convolution& of, Context& context) {
  context.Expect(of.height % 2 == 0 && of.width % 2 == 0, "the images' sides are odd");
  context.Expect(of.from % 16 == 0 && of.to % 16 == 0, "the channels are not a multiple of 16");
  context.Expect(of.Tiles() > 0, "there are no images");
  context.Expect(CanConvolve(), "the processor has no AVX-512");
}

}  // namespace

// Images [n, h, w, from] of even sides and a filter [3, 3, from, to] to [n, h, w, to], with one zero on each side. Transposed,
// the filter is [3, 3, to, from] and the result the gradient to the images.
void Conv3x3(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *tf = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(tx) == 4 && TF_NumDims(tf) == 4 && TF_Dim(tf, 0) == 3 && TF_Dim(tf, 1) == 3,
                 "no images, or no filter of 3 by 3");
  if (!context.Ok()) return;
  const Convolution of{TF_Dim(tx, 0), TF_Dim(tx, 1), TF_Dim(tx, 2), TF_Dim(tx, 3), TF_Dim(tf, with.transposed ? 2 : 3)};
  context.Expect(TF_Dim(tf, with.transposed ? 3 : 2) == of.from, "the filter is for another number of channels");
  Check(of, context);
  float* y = context.Output(0, {of.n, of.height, of.width, of.to});
  if (!context.Ok()) return;
  Convolve(of, Data(tx), Data(tf), with.transposed, y);
}

// Images and the gradient to the result to the gradient to the filter.
void Conv3x3ToFilter(const Settings&, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *td = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(tx) == 4 && TF_NumDims(td) == 4, "no images");
  if (!context.Ok()) return;
  const Convolution of{TF_Dim(tx, 0), TF_Dim(tx, 1), TF_Dim(tx, 2), TF_Dim(tx, 3), TF_Dim(td, 3)};
  for (int i = 0; i < 3; i++) context.Expect(TF_Dim(tx, i) == TF_Dim(td, i), "the images are of another size");
  Check(of, context);
  float* filter = context.Output(0, {3, 3, of.from, of.to});
  if (!context.Ok()) return;
  ConvolveToFilter(of, Data(tx), Data(td), filter);
}

}  // namespace undistill
