// Convolutions as products of matrices: of any square kernel and stride, in groups too, and their gradients.
//
// The rows of the first matrix are pixels of the result, and its columns what they are sums of: the channels of the given
// pixels that a kernel meets. Some rows at a time are brought together in the cache, where every panel of filters, some output
// channels wide, meets them. In the gradient to the filter the same matrix is transposed, and meets the gradient to the result.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "avx512.h"
#include "channels.h"
#include "gathering.h"
#include "matrices.h"
#include "normalised.h"
#include "operation.h"
#include "planes.h"
#include "processor.h"
#include "vectors.h"
#include "workers.h"
#include "workspace.h"

namespace undistill {
namespace {

#if defined(__x86_64__) && defined(__GNUC__)
/* Products of numbers in registers, which the compiler makes for processors with AVX-512 and with AVX2 */

// Columns of the first matrix lie by 16s: [columns / 16, rows, 16].
constexpr int64_t kBlock = 16;

// Some rows of the first matrix by a panel of the second, [depth, two vectors], of which one may be all that is wanted, to as many
// rows of a result, of which only `count` are wanted.
template <typename Lanes, int rows, int vectors>
__attribute__((always_inline)) inline void MultiplyRows(const float* a, int64_t apart, int64_t depth, const float* b,
                                                        float* const* to, int64_t count) {
  typedef typename Lanes::Vector Vector;
  constexpr int64_t lanes = sizeof(Vector) / sizeof(float);
  Vector sums[rows][vectors];
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) sums[i][v] = Vector{};
  }
  for (int64_t block = 0; block < depth; block += kBlock, a += apart) {
    const int64_t end = std::min(kBlock, depth - block);
    for (int64_t k = 0; k < end; k++, b += 2 * lanes) {
      Vector each[vectors];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v++) each[v] = *reinterpret_cast<const Vector*>(b + v * lanes);
#pragma GCC unroll 16
      for (int i = 0; i < rows; i++) {
        const float factor = a[i * kBlock + k];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sums[i][v] += each[v] * factor;
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++) {
    if (i >= count) break;
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) *reinterpret_cast<Vector*>(to[i] + v * lanes) = sums[i][v];
  }
}

// Some columns of the first matrix, transposed, by a panel of the gradient, whose rows are `next` numbers apart: what is added to
// sums [columns, two vectors].
template <typename Lanes, int columns, int vectors>
__attribute__((always_inline)) inline void MultiplyColumns(const float* a, const float* b, int64_t next, int64_t depth,
                                                           bool add, float* u) {
  typedef typename Lanes::Vector Vector;
  constexpr int64_t lanes = sizeof(Vector) / sizeof(float);
  Vector sums[columns][vectors];
#pragma GCC unroll 16
  for (int i = 0; i < columns; i++) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++)
      sums[i][v] = add ? *reinterpret_cast<const Vector*>(u + (2 * i + v) * lanes) : Vector{};
  }
  for (int64_t k = 0; k < depth; k++, a += kBlock, b += next) {
    Vector each[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) each[v] = *reinterpret_cast<const Vector*>(b + v * lanes);
#pragma GCC unroll 16
    for (int i = 0; i < columns; i++) {
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v++) sums[i][v] += each[v] * a[i];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < columns; i++) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) *reinterpret_cast<Vector*>(u + (2 * i + v) * lanes) = sums[i][v];
  }
}

using Rows = void(const float* a, int64_t apart, int64_t depth, const float* b, float* const* to, int64_t count);
using Columns = void(const float* a, const float* b, int64_t next, int64_t depth, bool add, float* u);

template <int vectors>
__attribute__((target("avx512f"))) void Rows512(const float* a, int64_t apart, int64_t depth, const float* b, float* const* to,
                                                int64_t count) {
  MultiplyRows<Lanes16, 12, vectors>(a, apart, depth, b, to, count);
}

template <int vectors>
__attribute__((target("avx2,fma"))) void Rows256(const float* a, int64_t apart, int64_t depth, const float* b, float* const* to,
                                                 int64_t count) {
  MultiplyRows<Lanes8, 6, vectors>(a, apart, depth, b, to, count);
}

template <int vectors>
__attribute__((target("avx512f"))) void Columns512(const float* a, const float* b, int64_t next, int64_t depth, bool add,
                                                   float* u) {
  MultiplyColumns<Lanes16, 8, vectors>(a, b, next, depth, add, u);
}

template <int vectors>
__attribute__((target("avx2,fma"))) void Columns256(const float* a, const float* b, int64_t next, int64_t depth, bool add,
                                                   float* u) {
  MultiplyColumns<Lanes8, 4, vectors>(a, b, next, depth, add, u);
}

// What a processor multiplies at once.
struct Processor {
  bool can;
  // Output channels of a panel; rows of a result, and columns of a filter's gradient.
  int64_t panel, rows, columns;
  // By one vector of a panel, and by both.
  Rows* multiply_rows[2];
  Columns* multiply_columns[2];

  int64_t Vectors(int64_t channels) const { return 2 * channels > panel ? 2 : 1; }
};

const Processor& Here() {
  static const Processor here = [] {
    if (HasAvx512())
      return Processor{true, 32, 12, 8, {Rows512<1>, Rows512<2>}, {Columns512<1>, Columns512<2>}};
    const bool can = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return Processor{can, 16, 6, 4, {Rows256<1>, Rows256<2>}, {Columns256<1>, Columns256<2>}};
  }();
  return here;
}

inline void Copy16(const float* from, float* to) { std::memcpy(to, from, kBlock * sizeof(float)); }

// Fewer than 16 numbers.
inline void CopySome(const float* from, int64_t count, float* to) {
  for (; count >= 4; count -= 4, from += 4, to += 4) std::memcpy(to, from, 4 * sizeof(float));
  for (; count > 0; count--) *to++ = *from++;
}

/* The first matrix */

// Channels by 16s of some pixels beside each other, normalised, to rows of 16 numbers that are `apart`.
FOR_EACH_PROCESSOR void CopyNormalised(const float* __restrict from, int64_t pixels, int64_t channels, const float* mean,
                                       const float* slope, const float* offset, float lo, float hi, int64_t apart,
                                       float* __restrict to) {
  for (int64_t pixel = 0; pixel < pixels; pixel++) {
    for (int64_t c = 0; c < channels; c += kBlock, from += kBlock, to += apart) {
      for (int64_t i = 0; i < kBlock; i++) {
        float z = (from[i] - mean[c + i]) * slope[c + i] + offset[c + i];
        z = z < lo ? lo : z;
        to[i] = z > hi ? hi : z;
      }
    }
  }
}

// Rows of 16 numbers.
FOR_EACH_PROCESSOR void Normalise(const float* mean, const float* slope, const float* offset, float lo, float hi, int64_t rows,
                                  float* to) {
  float m[kBlock], s[kBlock], o[kBlock];
  for (int64_t i = 0; i < kBlock; i++) m[i] = mean[i], s[i] = slope[i], o[i] = offset[i];
  for (int64_t r = 0; r < rows; r++, to += kBlock) {
    for (int64_t i = 0; i < kBlock; i++) {
      float z = (to[i] - m[i]) * s[i] + o[i];
      z = z < lo ? lo : z;
      to[i] = z > hi ? hi : z;
    }
  }
}

// Some of the 16 numbers beside each other in a row of the matrix: those of a line of given pixels, `offset` from its first one on.
struct Segment {
  int64_t block, line, offset;
  uint16_t lanes;
};

// The row of a result all of whose pixels are given: a few loads for each 16 numbers, of lines that are `next` apart.
__attribute__((target("avx512f"))) void BringSegments(const std::vector<Segment>& segments, const float* lines, int64_t next,
                                                      float* to, int64_t apart) {
  int64_t block = 0;
  __m512 numbers = _mm512_setzero_ps();
  for (const Segment& segment : segments) {
    if (segment.block != block) {
      _mm512_storeu_ps(to + block * apart, numbers);
      block = segment.block;
      numbers = _mm512_setzero_ps();
    }
    // What lies before and behind is not touched.
    numbers = _mm512_mask_loadu_ps(numbers, segment.lanes, lines + segment.line * next + segment.offset);
  }
  _mm512_storeu_ps(to + block * apart, numbers);
}

// The results of one phase of rows and one of columns, in their order.
class Pixels {
 public:
  Pixels(const Gathering& of, const Phase& down, const Phase& across, const Normal& normal)
      : of_(of), normal_(normal), down_(down), across_(across), lines_(static_cast<int64_t>(down.kernel.size())),
        columns_(static_cast<int64_t>(across.kernel.size())) {
    // Where a line gives whole blocks, these are copied one by one.
    const int64_t run = columns_ * of.from;
    if (Here().panel != 32 || normal.Any() || of.groups > 1 || run % kBlock == 0) return;
    for (int64_t line = 0, lane = 0; line < lines_; line++) {
      for (int64_t done = 0, some; done < run; done += some, lane += some) {
        const int64_t first = lane % kBlock;
        some = std::min(run - done, kBlock - first);
        segments_.push_back({lane / kBlock, line, done - first, static_cast<uint16_t>(((1u << some) - 1) << first)});
      }
    }
  }

  int64_t Count() const { return of_.n * down_.count * across_.count; }
  int64_t Depth() const { return lines_ * columns_ * of_.from; }

  // Where in all results the pixel of a result is.
  int64_t Result(int64_t pixel) const {
    if (of_.apart == 1) return pixel;
    const auto [image, i, j] = At(pixel);
    return (image * of_.down + down_.at + i * of_.apart) * of_.across + across_.at + j * of_.apart;
  }

  // The rows of some pixels from `begin` on, of which there are `count` and the last one is there as often as makes `rows`.
  void Bring(const float* given, int64_t group, int64_t begin, int64_t count, int64_t rows, float* to) const {
    const int64_t pixel = of_.groups * of_.from;
    if (SeesOnePixel()) {
      for (int64_t r = 0; r < rows; r++) {
        const int64_t here = begin + std::min(r, count - 1);
        const float* from = given + here * pixel + group * of_.from;
        Row row{to + r * kBlock, rows * kBlock};
        if (given + Count() * pixel - from >= RoundUp(of_.from, kBlock)) {
          // Numbers beyond the last channel are those of the next pixels, and what they give is not wanted.
          for (int64_t k = 0; k < of_.from; k += kBlock, row.to += row.apart) Copy16(from + k, row.to);
          continue;
        }
        row.Add(from, of_.from);
        row.End();
      }
      for (int64_t k = 0; normal_.Any() && k < of_.from; k += kBlock) {
        const int64_t c = group * of_.from + k;
        Normalise(normal_.Mean() + c, normal_.Slope() + c, normal_.Offset() + c, normal_.Least(), normal_.Most(), rows,
                  to + k * rows);
      }
      return;
    }
    auto [image, i, j] = At(begin);
    for (int64_t r = 0; r < rows; r++) {
      if (r > 0 && r < count && ++j == across_.count) {
        j = 0;
        if (++i == down_.count) i = 0, image++;
      }
      const int64_t top = down_.first + i * of_.along, left = across_.first + j * of_.along;
      const float* first = given + image * of_.height * of_.width * pixel + group * of_.from;
      if (!segments_.empty() && top >= 0 && top + lines_ <= of_.height && left >= 0 && left + columns_ <= of_.width) {
        BringSegments(segments_, first + (top * of_.width + left) * pixel, of_.width * pixel, to + r * kBlock, rows * kBlock);
        continue;
      }
      Row row{to + r * kBlock, rows * kBlock};
      for (int64_t a = 0; a < lines_; a++) {
        const float* line = first + ((top + a) * of_.width + left) * pixel;
        const bool inside = top + a >= 0 && top + a < of_.height;
        if (inside && left >= 0 && left + columns_ <= of_.width && of_.groups == 1) {
          if (normal_.Any())
            row.AddNormalised(line, columns_, of_.from, normal_, 0);
          else
            row.Add(line, columns_ * of_.from);
          continue;
        }
        for (int64_t b = 0; b < columns_; b++) {
          const bool here = inside && left + b >= 0 && left + b < of_.width;
          if (here && normal_.Any())
            row.AddNormalised(line + b * pixel, 1, of_.from, normal_, group * of_.from);
          else
            row.Add(here ? line + b * pixel : nullptr, of_.from);
        }
      }
      row.End();
    }
  }

 private:
  struct Place {
    int64_t image, i, j;
  };
  Place At(int64_t pixel) const {
    const int64_t j = pixel % across_.count, above = pixel / across_.count;
    return {above / down_.count, above % down_.count, j};
  }

  // A row of the matrix that is written from its first number on; no numbers are zeros.
  struct Row {
    float* to;
    int64_t apart, lane = 0;

    void Add(const float* from, int64_t count) {
      while (count > 0) {
        const int64_t some = std::min(count, kBlock - lane);
        if (from == nullptr)
          std::fill_n(to + lane, some, 0.0f);
        else if (some == kBlock)
          Copy16(from, to);
        else
          CopySome(from, some, to + lane);
        lane += some;
        count -= some;
        if (from != nullptr) from += some;
        if (lane == kBlock) to += apart, lane = 0;
      }
    }
    // Some pixels' channels by 16s, the first of which is `c`.
    void AddNormalised(const float* from, int64_t pixels, int64_t channels, const Normal& normal, int64_t c) {
      CopyNormalised(from, pixels, channels, normal.Mean() + c, normal.Slope() + c, normal.Offset() + c, normal.Least(),
                     normal.Most(), apart, to);
      to += pixels * channels / kBlock * apart;
    }
    void End() {
      if (lane > 0) std::fill(to + lane, to + kBlock, 0.0f);
    }
  };

  // Whether each result is of the given pixel in its own place.
  bool SeesOnePixel() const {
    return lines_ == 1 && columns_ == 1 && of_.along == 1 && of_.apart == 1 && down_.first == 0 && across_.first == 0 &&
           down_.count == of_.height && across_.count == of_.width;
  }

  const Gathering& of_;
  const Normal& normal_;
  const Phase &down_, &across_;
  int64_t lines_, columns_;
  std::vector<Segment> segments_;
};

// Rows that are brought together at once: as many as make the matrix half of the cache of a processor, but so few that there
// is enough to share.
int64_t RowsAtOnce(int64_t pixels, int64_t depth, int64_t by) {
  const int64_t near = std::clamp<int64_t>(65536 / std::max<int64_t>(depth, 1), 48, 192);
  return RoundUp(std::clamp<int64_t>(pixels / 32, by, near), by);
}

/* The second matrix */

__attribute__((target("avx512f"))) void Transpose512(const float* from, int64_t next, float* to, int64_t apart) {
  alignas(64) float columns[16][16];
  Transpose(from, next, columns);
  for (int64_t i = 0; i < 16; i++) Copy16(columns[i], to + i * apart);
}

// 16 rows of 16 numbers to columns.
void TransposeBlock(const float* from, int64_t next, float* to, int64_t apart) {
  if (Here().panel == 32) return Transpose512(from, next, to, apart);
  for (int64_t i = 0; i < 16; i++)
    for (int64_t j = 0; j < 16; j++) to[j * apart + i] = from[i * next + j];
}

// A panel of a group's output channels from `k` on for a phase: [depth, panel]. What is beyond the last channel is zero.
void BringFilter(const Gathering& of, const Phase& down, const Phase& across, const float* filter, int64_t group, int64_t k,
                 float* to) {
  const int64_t panel = Here().panel, wide = std::min(panel, of.to - k);
  for (const int64_t line : down.kernel) {
    for (const int64_t column : across.kernel) {
      const int64_t place = line * of.kernel + column;
      if (!of.turned) {
        const float* weights = filter + place * of.from * of.groups * of.to + group * of.to + k;
        for (int64_t c = 0; c < of.from; c++, weights += of.groups * of.to, to += panel) {
          std::copy_n(weights, wide, to);
          std::fill(to + wide, to + panel, 0.0f);
        }
        continue;
      }
      const int64_t next = of.groups * of.from;
      const float* weights = filter + (place * of.to + k) * next + group * of.from;
      int64_t c = 0;
      for (; c + 16 <= of.from; c += 16) {
        int64_t lane = 0;
        for (; lane + 16 <= wide; lane += 16) TransposeBlock(weights + lane * next + c, next, to + c * panel + lane, panel);
        for (int64_t each = c; each < c + 16; each++)
          for (int64_t left = lane; left < panel; left++)
            to[each * panel + left] = left < wide ? weights[left * next + each] : 0.0f;
      }
      for (; c < of.from; c++)
        for (int64_t lane = 0; lane < panel; lane++) to[c * panel + lane] = lane < wide ? weights[lane * next + c] : 0.0f;
      to += of.from * panel;
    }
  }
}

/* Images from images: forwards, and the gradient to them */

// Sums that were not taken at once.
void AddAll(const float* dy, int64_t pixels, NormGradient& through) {
  constexpr int64_t some = 256;
  const int64_t parts = (pixels + some - 1) / some;
  through.Expect(parts);
  Workers().Run(parts, [&](int64_t i) { through.Add(i, dy + i * some * through.Channels(), i * some, std::min(some, pixels - i * some)); });
}

void AddAll(const float* y, int64_t pixels, int64_t channels, ImageMoments& moments) {
  constexpr int64_t some = 256;
  const int64_t parts = (pixels + some - 1) / some;
  moments.Expect(parts);
  Workers().Run(parts, [&](int64_t i) { moments.Add(i, y + i * some * channels, std::min(some, pixels - i * some)); });
}

// Rows by a panel of the filter as products of vectors.
class ByVectors {
 public:
  struct Turn {};

  explicit ByVectors(int64_t depth) : depth_(depth), rows_(Here().rows), panel_(Here().panel) {}

  int64_t Rows() const { return rows_; }
  int64_t AtOnce(int64_t pixels) const { return RowsAtOnce(pixels, depth_, rows_); }
  int64_t FilterNumbers() const { return depth_ * panel_; }
  int64_t MatrixNumbers(int64_t rows) const { return rows * RoundUp(depth_, kBlock); }

  void Bring(const Pixels& pixels, const float* given, int64_t group, int64_t begin, int64_t count, int64_t rows, float* to) const {
    pixels.Bring(given, group, begin, count, rows, to);
  }

  void BringPanel(const Gathering& of, const Phase& down, const Phase& across, const float* filter, int64_t group, int64_t k,
                  float* to) const {
    BringFilter(of, down, across, filter, group, k, to);
  }

  // The `count` rows of a matrix of `rows` by a panel of `wide` output channels, the first of which is `channel`, to lines of a result.
  void Multiply(const float* a, int64_t rows, const float* filter, float* const* to, int64_t count, int64_t channel, int64_t wide) const {
    const int64_t vectors = Here().Vectors(wide);
    const bool whole = 2 * wide == vectors * panel_;
    float spare[16 * 32];
    for (int64_t r = 0; r < count; r += rows_) {
      const int64_t some = std::min(rows_, count - r);
      float* lines[16];
      for (int64_t i = 0; i < some; i++) lines[i] = whole ? to[r + i] + channel : spare + i * panel_;
      Here().multiply_rows[vectors - 1](a + r * kBlock, rows * kBlock, depth_, filter, lines, some);
      for (int64_t i = 0; !whole && i < some; i++) std::copy_n(lines[i], wide, to[r + i] + channel);
    }
  }

 private:
  int64_t depth_, rows_, panel_;
};

#if defined(HAS_AMX)
// 32 numbers of each of 16 rows, of which those from `count` on are none, to registers of their parts.
BFLOAT16 void RowsToParts(const float* from, int64_t apart, int64_t next, int64_t count, Bfloat16* to) {
  const __mmask16 first = Lanes(count), second = Lanes(count - 16);
  for (int64_t r = 0; r < kRows; r++, from += next, to += kFactors)
    StoreParts<Order::kBeside>(_mm512_maskz_loadu_ps(first, from), _mm512_maskz_loadu_ps(second, from + apart), to);
}

// `count` rows of `wide` numbers, at most 32 and 16, to a register of pairs of their parts.
BFLOAT16 void PairsToParts(const float* from, int64_t next, int64_t count, int64_t wide, Bfloat16* to) {
  const __mmask16 lanes = Lanes(wide);
  const auto row = [&](int64_t r) BFLOAT16_HERE { return _mm512_maskz_loadu_ps(r < count ? lanes : __mmask16{0}, from + r * next); };
  for (int64_t r = 0; r < kFactors; r += 2, to += kFactors) StoreParts<Order::kInTurn>(row(r), row(r + 1), to);
}

// The same as products of matrices. The rows are registers [rows / 16, depth / 32] of three parts, and a panel [depth / 32, 2].
class ByMatrices {
 public:
  // What a thread needs while it multiplies.
  struct Turn {
    Registers registers{kRows};
  };

  // Whether it is worth it to take numbers apart.
  static bool Pays(const Gathering& of) { return HasMatrices() && of.to >= 32 && of.from * of.kernel * of.kernel >= 32; }

  explicit ByMatrices(int64_t depth) : depth_(depth), times_((depth + kFactors - 1) / kFactors) {}

  int64_t Rows() const { return 2 * kRows; }
  int64_t AtOnce(int64_t pixels) const {
    const int64_t near = std::clamp<int64_t>((3 << 16) / std::max<int64_t>(depth_, 1), 64, 192);
    return RoundUp(std::clamp<int64_t>(pixels / 16, Rows(), near), Rows());
  }
  int64_t FilterNumbers() const { return Wholes(times_ * 2); }
  int64_t MatrixNumbers(int64_t rows) const { return Wholes(rows / kRows * times_); }

  void Bring(const Pixels& pixels, const float* given, int64_t group, int64_t begin, int64_t count, int64_t rows, float* a) const {
    const Workspace some(kRows * RoundUp(depth_, kFactors));
    auto* to = reinterpret_cast<Bfloat16*>(a);
    for (int64_t r = 0; r < rows; r += kRows) {
      const int64_t first = std::min(r, count - 1);
      pixels.Bring(given, group, begin + first, std::min(kRows, count - first), kRows, some.Data());
      for (int64_t k = 0; k < depth_; k += kFactors, to += kWhole)
        RowsToParts(some.Data() + k * kRows, kRows * kBlock, kBlock, depth_ - k, to);
    }
  }

  void BringPanel(const Gathering& of, const Phase& down, const Phase& across, const float* filter, int64_t group, int64_t k,
                  float* b) const {
    const int64_t panel = Here().panel;
    const Workspace some(depth_ * panel);
    BringFilter(of, down, across, filter, group, k, some.Data());
    auto* to = reinterpret_cast<Bfloat16*>(b);
    for (int64_t begin = 0; begin < depth_; begin += kFactors)
      for (int64_t lane = 0; lane < panel; lane += kBlock, to += kWhole)
        PairsToParts(some.Data() + begin * panel + lane, panel, std::min(kFactors, depth_ - begin), kBlock, to);
  }

  void Multiply(const float* a, int64_t, const float* filter, float* const* to, int64_t count, int64_t channel, int64_t wide) const {
    const int64_t panel = Here().panel;
    alignas(64) float spare[2 * kRows * 32];
    const Steps down{times_ * kWhole, kWhole}, across{kWhole, 2 * kWhole};
    const auto* columns = reinterpret_cast<const Bfloat16*>(filter);
    for (int64_t r = 0; r < count; r += Rows()) {
      const int64_t some = std::min(Rows(), count - r);
      const auto* lines = reinterpret_cast<const Bfloat16*>(a) + r / kRows * down.beside;
      for (int64_t i = 0; i < some; i++)
        for (int64_t j = 0; j < wide; j += 16) __builtin_prefetch(to[r + i] + channel + j, 1, 2);
      const auto multiply = wide > 16 ? (some > kRows ? MultiplyParts<2, 2> : MultiplyParts<1, 2>)
                                      : (some > kRows ? MultiplyParts<2, 1> : MultiplyParts<1, 1>);
      // Beside each other, results go where they belong.
      const int64_t next = some == Rows() ? to[r + 1] - to[r] : 0;
      if (wide == panel && next > 0 && to[r + some - 1] - to[r] == (some - 1) * next) {
        multiply(lines, down, columns, across, times_, false, to[r] + channel, next);
        continue;
      }
      multiply(lines, down, columns, across, times_, false, spare, panel);
      for (int64_t i = 0; i < some; i++) std::memcpy(to[r + i] + channel, spare + i * panel, wide * sizeof(float));
    }
  }

 private:
  int64_t depth_, times_;
};
#endif

template <typename Way>
void GatherBy(const Gathering& of, const float* given, const Normal& normal, const float* filter, NormGradient& through,
              ImageMoments& moments, const Finish& finish, float* result) {
  const int64_t panel = Here().panel, panels = (of.to + panel - 1) / panel, next = of.groups * of.to;
  for (const Phase& down : of.rows) {
    for (const Phase& across : of.columns) {
      const Pixels pixels(of, down, across, normal);
      const Way way(pixels.Depth());
      const int64_t size = way.AtOnce(pixels.Count()), blocks = (pixels.Count() + size - 1) / size,
                    filters = std::max<int64_t>(1, way.FilterNumbers());
      if (pixels.Count() == 0) continue;
      // All channels of pixels beside each other.
      const bool atOnce = through.Any() && of.groups == 1 && of.apart == 1;
      if (atOnce) through.Expect(blocks);
      // There is one phase forwards.
      if (of.groups == 1) moments.Expect(blocks);
      const Workspace b(of.groups * panels * filters);
      Workers().Run(of.groups * panels, [&](int64_t i) {
        way.BringPanel(of, down, across, filter, i / panels, i % panels * panel, b.Data() + i * filters);
      });
      Workers().Run(of.groups * blocks, [&](int64_t task) {
        const int64_t group = task / blocks, begin = task % blocks * size, count = std::min(size, pixels.Count() - begin),
                      rows = RoundUp(count, way.Rows());
        const Workspace a(std::max<int64_t>(1, way.MatrixNumbers(rows)));
        [[maybe_unused]] const typename Way::Turn turn;
        way.Bring(pixels, given, group, begin, count, rows, a.Data());
        std::vector<float*> to(rows);
        for (int64_t r = 0; r < count; r++) to[r] = result + pixels.Result(begin + r) * next + group * of.to;
        for (int64_t p = 0; p < panels; p++) {
          const float* weights = b.Data() + (group * panels + p) * filters;
          const int64_t wide = std::min(panel, of.to - p * panel);
          way.Multiply(a.Data(), rows, weights, to.data(), count, p * panel, wide);
        }
        if (atOnce) through.Add(task, result + begin * next, begin, count);
        if (moments.Any() && of.groups == 1) moments.Add(task, result + begin * next, count);
        if (finish.Any() && of.groups == 1) finish.Apply(result, begin * next, count, next);
      });
    }
  }
  if (through.Any() && (of.groups > 1 || of.apart > 1)) AddAll(result, of.n * of.down * of.across, through);
  if (finish.Any() && of.groups > 1) finish.Apply(result, 0, of.n * of.down * of.across, of.groups * of.to);
  if (moments.Any() && of.groups > 1) AddAll(result, of.n * of.down * of.across, of.groups * of.to, moments);
}

void Gather(const Gathering& of, const float* given, const Normal& normal, const float* filter, NormGradient& through,
            ImageMoments& moments, const Finish& finish, float* result) {
  const bool alone = !normal.Any() && !through.Any() && !moments.Any() && !finish.Any();
  if (alone && GathersInPlanes(of)) return GatherInPlanes(of, given, filter, result);
#if defined(HAS_AMX)
  if (ByMatrices::Pays(of)) return GatherBy<ByMatrices>(of, given, normal, filter, through, moments, finish, result);
#endif
  GatherBy<ByVectors>(of, given, normal, filter, through, moments, finish, result);
}

/* The gradient to the filter */

// How it is shared: groups of pixels, each with sums of its own, and panels of output channels.
struct Sharing {
  int64_t pixels, panels, groups, ranges;

  Sharing(int64_t pixels, int64_t panels, int64_t weights) : pixels(pixels), panels(panels) {
    groups = std::clamp<int64_t>(std::min<int64_t>((1 << 20) / std::max<int64_t>(weights, 1), pixels / 256), 2, 16);
    ranges = (panels + 7) / 8;
  }
};

// Columns of the first matrix by the gradient to the result, as products of vectors.
class ToFilterByVectors {
 public:
  struct Turn {};

  ToFilterByVectors(int64_t pixels, int64_t depth, int64_t) : depth_(depth), size_(RowsAtOnce(pixels, depth, Here().rows)) {}

  int64_t Size() const { return size_; }
  int64_t Padded() const { return RoundUp(depth_, kBlock); }
  int64_t MatrixNumbers() const { return size_ * Padded(); }
  int64_t PanelNumbers() const { return size_ * Here().panel; }

  void Bring(const Pixels& pixels, const float* given, int64_t group, int64_t begin, int64_t count, float* to) const {
    pixels.Bring(given, group, begin, count, count, to);
  }

  // What `count` rows of `wide` channels of the gradient, `next` apart, give to the sums [depth, panel]. The gradient ends at `end`.
  void Multiply(const float* a, int64_t count, const float* dy, int64_t next, int64_t wide, const float* end, float* spare, bool add,
                float* sums) const {
    const int64_t panel = Here().panel;
    // Beyond the last channel are the next pixels, of which nothing is wanted; but beyond the last pixel is nothing.
    if (end - (dy + (count - 1) * next) < Here().Vectors(wide) * panel / 2) {
      for (int64_t r = 0; r < count; r++) {
        std::copy_n(dy + r * next, wide, spare + r * panel);
        std::fill(spare + r * panel + wide, spare + (r + 1) * panel, 0.0f);
      }
      dy = spare, next = panel;
    }
    const auto multiply = Here().multiply_columns[Here().Vectors(wide) - 1];
    for (int64_t k = 0; k < depth_; k += Here().columns)
      multiply(a + k / kBlock * count * kBlock + k % kBlock, dy, next, count, add, sums + k * panel);
  }

 private:
  int64_t depth_, size_;
};

#if defined(HAS_AMX)
// The same as products of matrices: [depth / 16, size / 32] registers of three parts by a panel [size / 32, 2].
class ToFilterByMatrices {
 public:
  using Turn = ByMatrices::Turn;

  ToFilterByMatrices(int64_t pixels, int64_t depth, int64_t parts) : depth_(depth) {
    const int64_t near = std::clamp<int64_t>((3 << 16) / std::max<int64_t>(depth, 1), 64, 256);
    size_ = RoundUp(std::clamp<int64_t>(pixels / parts, kFactors, near), kFactors);
  }

  int64_t Size() const { return size_; }
  int64_t Padded() const { return RoundUp(depth_, kRows); }
  int64_t MatrixNumbers() const { return Wholes(Padded() / kRows * Times(size_)); }
  int64_t PanelNumbers() const { return Wholes(Times(size_) * 2); }

  void Bring(const Pixels& pixels, const float* given, int64_t group, int64_t begin, int64_t count, float* a) const {
    const Workspace some(kFactors * Padded());
    for (int64_t r = 0; r < count; r += kFactors) {
      const int64_t here = std::min(kFactors, count - r);
      pixels.Bring(given, group, begin + r, here, kFactors, some.Data());
      for (int64_t k = 0; k < Padded(); k += kRows) {
        float* rows = some.Data() + k * kFactors;
        std::fill(rows + here * kBlock, rows + kFactors * kBlock, 0.0f);
        ColumnsToParts(rows, reinterpret_cast<Bfloat16*>(a) + (k / kRows * Times(size_) + r / kFactors) * kWhole);
      }
    }
  }

  void Multiply(const float* a, int64_t count, const float* dy, int64_t next, int64_t wide, const float*, float* spare, bool add,
                float* sums) const {
    const int64_t panel = Here().panel;
    auto* columns = reinterpret_cast<Bfloat16*>(spare);
    for (int64_t r = 0; r < count; r += kFactors)
      for (int64_t lane = 0; lane < panel; lane += kBlock)
        PairsToParts(dy + r * next + lane, next, std::min(kFactors, count - r), wide - lane, columns + (r / kFactors * 2 + lane / kBlock) * kWhole);
    const Steps down{Times(size_) * kWhole, kWhole}, across{kWhole, 2 * kWhole};
    for (int64_t k = 0; k < Padded(); k += 2 * kRows) {
      const auto* lines = reinterpret_cast<const Bfloat16*>(a) + k / kRows * down.beside;
      (k + kRows < Padded() ? MultiplyParts<2, 2> : MultiplyParts<1, 2>)(lines, down, columns, across, Times(count), add,
                                                                          sums + k * panel, panel);
    }
  }

 private:
  static int64_t Times(int64_t rows) { return (rows + kFactors - 1) / kFactors; }

  int64_t depth_, size_;
};
#endif

template <typename Way>
void GatherToFilterBy(const Gathering& of, const float* x, const Normal& normal, const float* dy, float* filter) {
  const Pixels pixels(of, of.rows[0], of.columns[0], normal);
  const int64_t depth = pixels.Depth(), panel = Here().panel, panels = (of.to + panel - 1) / panel, next = of.groups * of.to;
  const Sharing sharing(pixels.Count(), panels, depth * of.to);
  const int64_t parts = sharing.groups;
  const Way way(pixels.Count(), depth, parts);
  const int64_t size = way.Size(), blocks = (pixels.Count() + size - 1) / size, sums = way.Padded() * panel;
  for (int64_t group = 0; group < of.groups; group++) {
    const Workspace u(parts * panels * sums);
    Workers().Run(parts * sharing.ranges, [&](int64_t task) {
      const int64_t part = task / sharing.ranges, range = task % sharing.ranges, first = panels * range / sharing.ranges,
                    last = panels * (range + 1) / sharing.ranges, start = blocks * part / parts, end = blocks * (part + 1) / parts;
      const Workspace a(way.MatrixNumbers()), d(way.PanelNumbers());
      [[maybe_unused]] const typename Way::Turn turn;
      if (start == end) std::fill_n(u.Data() + (part * panels + first) * sums, (last - first) * sums, 0.0f);
      for (int64_t block = start; block < end; block++) {
        const int64_t begin = block * size, count = std::min(size, pixels.Count() - begin);
        way.Bring(pixels, x, group, begin, count, a.Data());
        for (int64_t p = first; p < last; p++)
          way.Multiply(a.Data(), count, dy + begin * next + group * of.to + p * panel, next, std::min(panel, of.to - p * panel),
                       dy + pixels.Count() * next, d.Data(), block > start, u.Data() + (part * panels + p) * sums);
      }
    });
    constexpr int64_t some = 32;
    const int64_t lines = (depth + some - 1) / some;
    Workers().Run(panels * lines, [&](int64_t task) {
      const int64_t p = task / lines, wide = std::min(panel, of.to - p * panel), k = task % lines * some,
                    numbers = std::min(some, depth - k) * panel;
      float* total = u.Data() + p * sums + k * panel;
      for (int64_t part = 1; part < parts; part++) {
        const float* one = total + part * panels * sums;
        for (int64_t i = 0; i < numbers; i++) total[i] += one[i];
      }
      for (int64_t i = 0; i < numbers / panel; i++)
        std::copy_n(total + i * panel, wide, filter + (k + i) * next + group * of.to + p * panel);
    });
  }
}

void GatherToFilter(const Convolution& conv, const float* x, const Normal& normal, const float* dy, float* filter) {
  const Gathering of = ForwardsOf(conv);
  if (SumsInPlanes(of) && !normal.Any()) return PlanesToFilter(of, x, dy, filter);
#if defined(HAS_AMX)
  if (ByMatrices::Pays(of)) return GatherToFilterBy<ToFilterByMatrices>(of, x, normal, dy, filter);
#endif
  GatherToFilterBy<ToFilterByVectors>(of, x, normal, dy, filter);
}

bool CanConvolve() { return Here().can; }
#else
bool CanConvolve() { return false; }
void Gather(const Gathering&, const float*, const Normal&, const float*, NormGradient&, ImageMoments&, const Finish&, float*) {}
void GatherToFilter(const Convolution&, const float*, const Normal&, const float*, float*) {}
#endif

void Check(const Convolution& of, Context& context) {
  context.Expect(of.n > 0 && of.from > 0 && of.to > 0 && of.groups > 0, "there are no images");
  context.Expect(of.kernel > 0 && of.stride > 0 && of.padding >= 0 && of.padding < of.kernel,
                 "no kernel, no stride or more zeros than kernel");
  context.Expect(of.height + 2 * of.padding >= of.kernel && of.width + 2 * of.padding >= of.kernel,
                 "images smaller than the kernel");
  context.Expect(CanConvolve(), "the processor has neither AVX-512 nor AVX2");
}

// A border of zeros is not normalised.
void CheckNormal(const Convolution& of, const Normal& normal, Context& context) {
  const bool whole = of.kernel == 1 && of.stride == 1 && of.padding == 0;
  context.Expect(!normal.Any() || whole || of.from % 16 == 0, "the channels to be normalised are no multiple of 16");
}

// A square filter [kernel, kernel, from / groups, to].
bool IsFilter(TF_Tensor* filter) { return TF_NumDims(filter) == 4 && TF_Dim(filter, 0) == TF_Dim(filter, 1); }

}  // namespace

// Images [n, h, w, from] and a filter [kernel, kernel, from / groups, to] to [n, down, across, to].
void Conv(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *tf = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(tx) == 4 && IsFilter(tf), "no images, or no square filter");
  if (!context.Ok()) return;
  const int64_t from = TF_Dim(tf, 2), to = TF_Dim(tf, 3), groups = std::max<int64_t>(1, with.groups);
  const Convolution of{TF_Dim(tx, 0), TF_Dim(tx, 1), TF_Dim(tx, 2), from,        to / groups,
                       TF_Dim(tf, 0), with.stride,   with.padding,  groups};
  context.Expect(from * groups == TF_Dim(tx, 3) && to % groups == 0, "the filter is for another number of channels");
  Check(of, context);
  if (!context.Ok()) return;
  const auto normal = Normal::Of(with, context, 2, from * groups);
  CheckNormal(of, normal, context);
  const auto finish = Finish::Of(with, context, 6, to, of.n * of.Down() * of.Across() * to);
  float* y = context.Output(0, {of.n, of.Down(), of.Across(), to});
  auto moments = ImageMoments::Of(context, 1, to);
  NormGradient none;
  if (!context.Ok()) return;
  Gather(ForwardsOf(of), Data(tx), normal, Data(tf), none, moments, finish, y);
  if (moments.Any()) moments.Finish();
}

// The gradient to the result and the filter to the gradient to the images, [n, height, width, from].
void ConvToImages(const Settings& with, Context& context) {
  TF_Tensor *td = context.InputTensor(0), *tf = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(td) == 4 && IsFilter(tf), "no images, or no square filter");
  if (!context.Ok()) return;
  const int64_t from = TF_Dim(tf, 2), to = TF_Dim(tf, 3), groups = std::max<int64_t>(1, with.groups);
  const Convolution of{TF_Dim(td, 0), with.height, with.width,   from,  to / groups,
                       TF_Dim(tf, 0), with.stride, with.padding, groups};
  context.Expect(to == TF_Dim(td, 3) && to % groups == 0, "the filter is for another number of channels");
  Check(of, context);
  if (!context.Ok()) return;
  context.Expect(of.Down() == TF_Dim(td, 1) && of.Across() == TF_Dim(td, 2), "the images are of another size");
  auto through = NormGradient::Of(with, context, 2, of.n * of.height * of.width, from * groups);
  float* dx = context.Output(0, {of.n, of.height, of.width, from * groups});
  float *to_scale = through.Any() ? context.OutputVector(1, from * groups) : nullptr,
        *to_offset = through.Any() ? context.OutputVector(2, from * groups) : nullptr;
  if (!context.Ok()) return;
  ImageMoments none;
  Gather(BackwardsOf(of), Data(td), {}, Data(tf), through, none, Finish(), dx);
  if (through.Any()) through.Finish(dx, to_scale, to_offset);
}

// Images and the gradient to the result to the gradient to the filter, [kernel, kernel, from / groups, to].
void ConvToFilter(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *td = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(tx) == 4 && TF_NumDims(td) == 4, "no images");
  if (!context.Ok()) return;
  const int64_t groups = std::max<int64_t>(1, with.groups), from = TF_Dim(tx, 3), to = TF_Dim(td, 3);
  const Convolution of{TF_Dim(tx, 0), TF_Dim(tx, 1), TF_Dim(tx, 2), from / groups, to / groups,
                       with.kernel,   with.stride,   with.padding,  groups};
  context.Expect(from % groups == 0 && to % groups == 0, "the channels do not divide into groups");
  Check(of, context);
  if (!context.Ok()) return;
  context.Expect(TF_Dim(td, 0) == of.n && TF_Dim(td, 1) == of.Down() && TF_Dim(td, 2) == of.Across(),
                 "the images are of another size");
  const auto normal = Normal::Of(with, context, 2, from);
  CheckNormal(of, normal, context);
  float* filter = context.Output(0, {of.kernel, of.kernel, of.from, to});
  if (context.Ok()) GatherToFilter(of, Data(tx), normal, Data(td), filter);
}

}  // namespace undistill
