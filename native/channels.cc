// Operations on images as rows of channels: batch norms and biases, with the activation or the max-pooling that follows them.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "channels.h"
#include "operation.h"
#include "workers.h"
#include "workspace.h"

namespace undistill {
namespace {

/* Loops over rows of w numbers. All that is given by channel has w numbers too. */

// s1 += x - shift, s2 += (x - shift)².
FOR_EACH_PROCESSOR void AddSums(const float* __restrict x, int64_t rows, int64_t w, const float* __restrict shift,
                                float* __restrict s1, float* __restrict s2) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float *x0 = x + r * w, *x1 = x0 + w, *x2 = x1 + w, *x3 = x2 + w;
    for (int64_t c = 0; c < w; c++) {
      const float d0 = x0[c] - shift[c], d1 = x1[c] - shift[c], d2 = x2[c] - shift[c], d3 = x3[c] - shift[c];
      s1[c] += (d0 + d1) + (d2 + d3);
      s2[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
    }
  }
  for (; r < rows; r++) {
    const float* x0 = x + r * w;
    for (int64_t c = 0; c < w; c++) {
      const float d = x0[c] - shift[c];
      s1[c] += d;
      s2[c] += d * d;
    }
  }
}

// For every number of a row the same roundings: of AVX-512 alone, a compiler's vectors of sixteen and single numbers multiply and add
// with one, its vectors of eight with two.
template <typename Body>
__attribute__((always_inline)) inline void ForEachAlike(int64_t w, const Body& body) {
  const int64_t whole = w - w % 16;
  for (int64_t c = 0; c < whole; c++) body(c);
  for (int64_t c = whole; c < w; c++) {
    __asm__ volatile("");
    body(c);
  }
}

// y = (x - mean) a + b, but at least lo and at most hi. What is not a number stays so.
FOR_EACH_PROCESSOR void Normalise(const float* __restrict x, int64_t rows, int64_t w, const float* __restrict mean,
                                  const float* __restrict a, const float* __restrict b, float lo, float hi,
                                  float* __restrict y) {
  for (int64_t r = 0; r < rows; r++, x += w, y += w) {
    ForEachAlike(w, [=](int64_t c) __attribute__((always_inline)) {
      float z = (x[c] - mean[c]) * a[c] + b[c];
      z = z < lo ? lo : z;
      y[c] = z > hi ? hi : z;
    });
  }
}

// The gradient to z from that to z within bounds.
__attribute__((always_inline)) inline float Within(float z, float lo, float hi, float dy) {
  return ((z > lo) & (z < hi)) ? dy : 0.0f;
}

// With g = dy where (x - mean) a + b is between lo and hi, and 0 elsewhere: s1 += g, s2 += g (x - mean).
FOR_EACH_PROCESSOR void AddGradientSums(const float* __restrict dy, const float* __restrict x, int64_t rows, int64_t w,
                                        const float* __restrict mean, const float* __restrict a,
                                        const float* __restrict b, float lo, float hi, float* __restrict s1,
                                        float* __restrict s2) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float *x0 = x + r * w, *x1 = x0 + w, *x2 = x1 + w, *x3 = x2 + w;
    const float *dy0 = dy + r * w, *dy1 = dy0 + w, *dy2 = dy1 + w, *dy3 = dy2 + w;
    for (int64_t c = 0; c < w; c++) {
      const float d0 = x0[c] - mean[c], d1 = x1[c] - mean[c], d2 = x2[c] - mean[c], d3 = x3[c] - mean[c];
      const float z0 = d0 * a[c] + b[c], z1 = d1 * a[c] + b[c], z2 = d2 * a[c] + b[c], z3 = d3 * a[c] + b[c];
      const float g0 = Within(z0, lo, hi, dy0[c]), g1 = Within(z1, lo, hi, dy1[c]);
      const float g2 = Within(z2, lo, hi, dy2[c]), g3 = Within(z3, lo, hi, dy3[c]);
      s1[c] += (g0 + g1) + (g2 + g3);
      s2[c] += (g0 * d0 + g1 * d1) + (g2 * d2 + g3 * d3);
    }
  }
  for (; r < rows; r++) {
    const float *x0 = x + r * w, *dy0 = dy + r * w;
    for (int64_t c = 0; c < w; c++) {
      const float d = x0[c] - mean[c];
      const float z = d * a[c] + b[c];
      const float g = Within(z, lo, hi, dy0[c]);
      s1[c] += g;
      s2[c] += g * d;
    }
  }
}

// With g as above: dx = p g + q (x - centre) + level. dx may be dy.
FOR_EACH_PROCESSOR void PassBack(const float* dy, const float* __restrict x, int64_t rows, int64_t w,
                                 const float* __restrict mean, const float* __restrict a, const float* __restrict b,
                                 float lo, float hi, const float* __restrict p, const float* __restrict q,
                                 const float* __restrict centre, const float* __restrict level, float* dx) {
  for (int64_t r = 0; r < rows; r++, x += w, dy += w, dx += w) {
#pragma GCC ivdep
    for (int64_t c = 0; c < w; c++) {
      const float z = (x[c] - mean[c]) * a[c] + b[c];
      const float g = Within(z, lo, hi, dy[c]);
      dx[c] = p[c] * g + (q[c] * (x[c] - centre[c]) + level[c]);
    }
  }
}

// dx = p dy. dx may be dy.
FOR_EACH_PROCESSOR void Scale(const float* dy, int64_t rows, int64_t w, const float* __restrict p, float* dx) {
  for (int64_t r = 0; r < rows; r++, dy += w, dx += w) {
#pragma GCC ivdep
    for (int64_t c = 0; c < w; c++) dx[c] = p[c] * dy[c];
  }
}

/* Loops over windows of 2×2 of two rows of images, one above the other. Where numbers of a window are equal its first one counts. */

// The corners of windows, w numbers each, `step` from one window to the next: above left and right, below left and right.
template <typename Number>
struct Corners {
  Number* at[4];
  int64_t windows, w, step;
};

// The larger one. What is not a number stays so.
__attribute__((always_inline)) inline float Larger(float a, float b) {
  const float larger = b > a ? b : a;
  return b != b ? b : larger;
}

// y = the largest of each window of what is made of x, but at least lo and at most hi.
template <typename Made>
__attribute__((always_inline)) inline void PoolEach(const Corners<const float>& x, const Made& made, float lo, float hi, float* y) {
  const int64_t w = x.w;
  for (int64_t j = 0; j < x.windows; j++) {
    const float *x0 = x.at[0] + j * x.step, *x1 = x.at[1] + j * x.step, *x2 = x.at[2] + j * x.step, *x3 = x.at[3] + j * x.step;
    float* __restrict out = y + j * w;
    ForEachAlike(w, [=](int64_t c) __attribute__((always_inline)) {
      float z = Larger(Larger(made(x0[c], c), made(x1[c], c)), Larger(made(x2[c], c), made(x3[c], c)));
      z = z < lo ? lo : z;
      out[c] = z > hi ? hi : z;
    });
  }
}

// Of (x - mean) a + b.
FOR_EACH_PROCESSOR void PoolRow(const Corners<const float>& x, const float* __restrict mean, const float* __restrict a,
                                const float* __restrict b, float lo, float hi, float* y) {
  PoolEach(x, [=](float of, int64_t c) __attribute__((always_inline)) { return (of - mean[c]) * a[c] + b[c]; }, lo, hi, y);
}

// Of ((x + bias) - mean) a + b.
FOR_EACH_PROCESSOR void PoolBiasedRow(const Corners<const float>& x, const float* __restrict bias, const float* __restrict mean,
                                      const float* __restrict a, const float* __restrict b, float lo, float hi, float* y) {
  PoolEach(x, [=](float of, int64_t c) __attribute__((always_inline)) { return ((of + bias[c]) - mean[c]) * a[c] + b[c]; }, lo, hi,
           y);
}

// With g = dy where the largest is between lo and hi, and 0 elsewhere: s1 += g, s2 += g (x - mean), x being what is largest.
FOR_EACH_PROCESSOR void AddPooledSums(const float* gradients, const Corners<const float>& x, const float* __restrict mean,
                                      const float* __restrict a, const float* __restrict b, float lo, float hi,
                                      float* __restrict s1, float* __restrict s2) {
  const int64_t w = x.w;
  for (int64_t j = 0; j < x.windows; j++) {
    const float *x0 = x.at[0] + j * x.step, *x1 = x.at[1] + j * x.step, *x2 = x.at[2] + j * x.step, *x3 = x.at[3] + j * x.step,
                *dy = gradients + j * w;
    for (int64_t c = 0; c < w; c++) {
      const float d0 = x0[c] - mean[c], d1 = x1[c] - mean[c], d2 = x2[c] - mean[c], d3 = x3[c] - mean[c];
      const float z0 = d0 * a[c] + b[c], z1 = d1 * a[c] + b[c], z2 = d2 * a[c] + b[c], z3 = d3 * a[c] + b[c];
      const float up = z1 > z0 ? z1 : z0, d_up = z1 > z0 ? d1 : d0;
      const float down = z3 > z2 ? z3 : z2, d_down = z3 > z2 ? d3 : d2;
      const float z = down > up ? down : up, d = down > up ? d_down : d_up;
      const float g = Within(z, lo, hi, dy[c]);
      s1[c] += g;
      s2[c] += g * d;
    }
  }
}

// With g as above for what is largest, and 0 for the others: dx = p g + q (x - mean) + level.
FOR_EACH_PROCESSOR void PassBackPooled(const float* gradients, const Corners<const float>& x, const float* __restrict mean,
                                       const float* __restrict a, const float* __restrict b, float lo, float hi,
                                       const float* __restrict p, const float* __restrict q, const float* __restrict level,
                                       const Corners<float>& dx) {
  const int64_t w = x.w;
  for (int64_t j = 0; j < x.windows; j++) {
    const float *x0 = x.at[0] + j * x.step, *x1 = x.at[1] + j * x.step, *x2 = x.at[2] + j * x.step, *x3 = x.at[3] + j * x.step,
                *dy = gradients + j * w;
    float *dx0 = dx.at[0] + j * x.step, *dx1 = dx.at[1] + j * x.step, *dx2 = dx.at[2] + j * x.step, *dx3 = dx.at[3] + j * x.step;
#pragma GCC ivdep
    for (int64_t c = 0; c < w; c++) {
      const float d0 = x0[c] - mean[c], d1 = x1[c] - mean[c], d2 = x2[c] - mean[c], d3 = x3[c] - mean[c];
      const float z0 = d0 * a[c] + b[c], z1 = d1 * a[c] + b[c], z2 = d2 * a[c] + b[c], z3 = d3 * a[c] + b[c];
      const float up = z1 > z0 ? z1 : z0, down = z3 > z2 ? z3 : z2, z = down > up ? down : up;
      const float g = p[c] * Within(z, lo, hi, dy[c]);
      const float g_up = down > up ? 0.0f : g, g_down = down > up ? g : 0.0f;
      dx0[c] = (z1 > z0 ? 0.0f : g_up) + (q[c] * d0 + level[c]);
      dx1[c] = (z1 > z0 ? g_up : 0.0f) + (q[c] * d1 + level[c]);
      dx2[c] = (z3 > z2 ? 0.0f : g_down) + (q[c] * d2 + level[c]);
      dx3[c] = (z3 > z2 ? g_down : 0.0f) + (q[c] * d3 + level[c]);
    }
  }
}

/* Rows of windows of few channels, taken apart so that the corners make vectors */

__attribute__((always_inline)) inline void CopyEach(const float* from, int64_t apart, int64_t pixels, int64_t channels, float* to,
                                                    int64_t next) {
  for (int64_t i = 0; i < pixels; i++, from += apart, to += next) std::memcpy(to, from, channels * sizeof(float));
}

// Pixels that are `apart` to places that are `next` to each other; where the compiler knows how long they are, it takes few instructions.
void CopyPixels(const float* from, int64_t apart, int64_t pixels, int64_t channels, float* to, int64_t next) {
  if (channels == 1) return CopyEach(from, apart, pixels, 1, to, next);
  if (channels == 2) return CopyEach(from, apart, pixels, 2, to, next);
  if (channels == 4) return CopyEach(from, apart, pixels, 4, to, next);
  if (channels == 8) return CopyEach(from, apart, pixels, 8, to, next);
  CopyEach(from, apart, pixels, channels, to, next);
}

/* Rows, blocks and sums */

// Numbers by channel, as often as a row of some width holds them.
std::vector<float> Repeated(const float* by_channel, int64_t channels, int64_t width) {
  std::vector<float> wide(width);
  for (int64_t i = 0; i < width; i++) wide[i] = by_channel[i % channels];
  return wide;
}

// A tensor [..., c] as rows that are wide enough for vectors: several of c numbers, where those are few, make one of w. Rows
// make blocks, which are what threads share.
struct Rows {
  int64_t channels, width, count, in_block, blocks;

  Rows(int64_t elements, int64_t c) : channels(c), width(c) {
    int64_t rows = elements / c;
    while (width < 128 && rows % 2 == 0 && rows > 1) {
      width *= 2;
      rows /= 2;
    }
    count = rows;
    in_block = std::max<int64_t>(8, 8192 / width);
    blocks = (count + in_block - 1) / in_block;
  }

  int64_t Elements() const { return count * width; }

  // For every block: its number, where it begins and how many rows it has.
  void ForEach(const std::function<void(int64_t block, int64_t begin, int64_t rows)>& body) const {
    Workers().Run(blocks, [&](int64_t block) {
      const int64_t begin = block * in_block;
      body(block, begin * width, std::min(in_block, count - begin));
    });
  }

  // The same from the last block on: what was read last may still be near.
  void ForEachBackwards(const std::function<void(int64_t begin, int64_t rows)>& body) const {
    Workers().Run(blocks, [&](int64_t i) {
      const int64_t begin = (blocks - 1 - i) * in_block;
      body(begin * width, std::min(in_block, count - begin));
    });
  }

  std::vector<float> Wide(const float* by_channel) const { return Repeated(by_channel, channels, width); }
  std::vector<float> Wide(const std::vector<float>& by_channel) const { return Wide(by_channel.data()); }
};

// Two sums for each number of a row, block by block.
class Sums {
 public:
  explicit Sums(const Rows& rows) : Sums(rows.blocks, rows.width, rows.channels) {}

  Sums(int64_t blocks, int64_t width, int64_t channels)
      : blocks_(blocks), width_(width), channels_(channels), parts_(2 * blocks * width, 0.0f) {}

  float* First(int64_t block) { return parts_.data() + 2 * block * width_; }
  float* Second(int64_t block) { return First(block) + width_; }

  // The sums by channel.
  std::pair<std::vector<double>, std::vector<double>> Total() {
    std::vector<double> first(channels_, 0.0), second(channels_, 0.0);
    for (int64_t block = 0; block < blocks_; block++) {
      const float *one = First(block), *two = Second(block);
      for (int64_t i = 0; i < width_;) {
        for (int64_t c = 0; c < channels_; c++, i++) {
          first[c] += one[i];
          second[c] += two[i];
        }
      }
    }
    return {first, second};
  }

 private:
  int64_t blocks_, width_, channels_;
  std::vector<float> parts_;
};

// Mean and biased variance by channel, from sums of what was shifted by its first row.
struct Moments {
  std::vector<float> mean, variance;

  Moments(Sums& sums, const Rows& rows, const float* shift) : mean(rows.channels), variance(rows.channels) {
    const double n = static_cast<double>(rows.Elements() / rows.channels);
    const auto [first, second] = sums.Total();
    for (int64_t c = 0; c < rows.channels; c++) {
      const double from_shift = first[c] / n;
      mean[c] = static_cast<float>(shift[c] + from_shift);
      // A number that is none stays none.
      const double variance_here = second[c] / n - from_shift * from_shift;
      variance[c] = static_cast<float>(variance_here < 0 ? 0 : variance_here);
    }
  }
};

std::vector<float> Inverses(const float* variance, int64_t channels, float epsilon) {
  std::vector<float> inverses(channels);
  for (int64_t c = 0; c < channels; c++) inverses[c] = 1.0f / std::sqrt(variance[c] + epsilon);
  return inverses;
}

std::vector<float> Slopes(const float* scale, const float* variance, int64_t channels, float epsilon) {
  auto slopes = Inverses(variance, channels, epsilon);
  for (int64_t c = 0; c < channels; c++) slopes[c] *= scale[c];
  return slopes;
}

Moments MomentsOf(const float* x, const Rows& rows) {
  Sums sums(rows);
  const auto shift = rows.Wide(x);
  rows.ForEach([&](int64_t block, int64_t begin, int64_t count) {
    AddSums(x + begin, count, rows.width, shift.data(), sums.First(block), sums.Second(block));
  });
  return Moments(sums, rows, x);
}

// Running mean and variance towards those of a batch, the variance unbiased.
void Move(const Moments& moments, const Rows& rows, float momentum, const float* mean, const float* variance, float* new_mean,
          float* new_variance) {
  const double n = static_cast<double>(rows.Elements() / rows.channels), unbiased = n > 1 ? n / (n - 1) : 1;
  for (int64_t c = 0; c < rows.channels; c++) {
    new_mean[c] = mean[c] + momentum * (moments.mean[c] - mean[c]);
    new_variance[c] = variance[c] + momentum * (static_cast<float>(moments.variance[c] * unbiased) - variance[c]);
  }
}

// Images [n, h, w, c] as windows of 2×2 without overlap. Rows of windows make blocks, which are what threads share. What a last
// odd row or column holds is in none.
struct Windows {
  int64_t n = 0, height = 0, width = 0, channels = 0, in_block = 1, blocks = 0;

  Windows(Context& context, TF_Tensor* x) {
    if (!context.Ok()) return;
    context.Expect(TF_NumDims(x) == 4 && TF_TensorElementCount(x) > 0, "no images");
    if (!context.Ok()) return;
    n = TF_Dim(x, 0), height = TF_Dim(x, 1), width = TF_Dim(x, 2), channels = TF_Dim(x, 3);
    context.Expect(height >= 2 && width >= 2, "images smaller than a window");
    in_block = std::max<int64_t>(1, 8192 / (2 * width * channels));
    blocks = (Rows() + in_block - 1) / in_block;
  }

  int64_t Down() const { return height / 2; }
  int64_t Across() const { return width / 2; }
  int64_t Rows() const { return n * Down(); }
  bool LeaveNothing() const { return height % 2 == 0 && width % 2 == 0; }
  std::vector<int64_t> Shape() const { return {n, Down(), Across(), channels}; }

  // Whether a row of windows is taken apart: then its corners make one long window, for which what is given by channel is `Wide`.
  bool Apart() const { return channels < 16; }
  int64_t Width() const { return Apart() ? Across() * channels : channels; }
  std::vector<float> Wide(const float* by_channel) const { return Repeated(by_channel, channels, Width()); }

  // The corners of a row of windows, where they are.
  template <typename Number>
  Corners<Number> InPlace(Number* above) const {
    Number* below = above + width * channels;
    return {{above, above + channels, below, below + channels}, Across(), channels, 2 * channels};
  }
  // The same where they are to be written, or taken apart.
  template <typename Number>
  Corners<Number> At(Number* above, Number* apart) const {
    if (!Apart()) return InPlace(above);
    return {{apart, apart + Width(), apart + 2 * Width(), apart + 3 * Width()}, 1, Width(), 0};
  }
  Corners<const float> Given(const float* above, float* apart) const {
    const auto corners = InPlace(above);
    for (int64_t i = 0; Apart() && i < 4; i++) CopyPixels(corners.at[i], corners.step, Across(), channels, apart + i * Width(), channels);
    return At<const float>(above, apart);
  }
  // What was written there to its place.
  void Back(float* above, const float* apart) const {
    const auto corners = InPlace(above);
    for (int64_t i = 0; Apart() && i < 4; i++) CopyPixels(apart + i * Width(), channels, Across(), channels, corners.at[i], corners.step);
  }

  // For every row of windows: its block, where its upper row of x begins, where the row itself does, and room for two rows that are
  // taken apart.
  void ForEach(const std::function<void(int64_t block, int64_t above, int64_t begin, float* apart, float* through)>& body) const {
    const int64_t numbers = Apart() ? 4 * Width() : 0;
    Workers().Run(blocks, [&](int64_t block) {
      const Workspace room(2 * numbers);
      for (int64_t row = block * in_block; row < std::min((block + 1) * in_block, Rows()); row++)
        body(block, (row / Down() * height + row % Down() * 2) * width * channels, row * Across() * channels, room.Data(),
             room.Data() + numbers);
    });
  }
};

}  // namespace

// x [n, h, w, c] to the largest number of each window of 2×2, and its activation.
void MaxPool(const Settings& with, Context& context) {
  TF_Tensor* tx = context.InputTensor(0);
  const Windows windows(context, tx);
  float* y = context.Output(0, windows.Shape());
  if (!context.Ok()) return;
  const float* x = Data(tx);
  const auto bounds = Activation::Of(with.activation);
  const std::vector<float> zeros(windows.Width(), 0.0f), ones(windows.Width(), 1.0f);
  windows.ForEach([&](int64_t, int64_t above, int64_t begin, float* apart, float*) {
    PoolRow(windows.Given(x + above, apart), zeros.data(), ones.data(), zeros.data(), bounds.lo, bounds.hi, y + begin);
  });
}

// dy and x to dx.
void MaxPoolGrad(const Settings& with, Context& context) {
  TF_Tensor *tdy = context.InputTensor(0), *tx = context.InputTensor(1);
  const Windows windows(context, tx);
  float* dx = context.OutputLike(0, tx);
  if (!context.Ok()) return;
  context.Expect(TF_TensorElementCount(tdy) == windows.Rows() * windows.Across() * windows.channels,
                 "the gradient is of another size");
  if (!context.Ok()) return;
  const float *dy = Data(tdy), *x = Data(tx);
  if (!windows.LeaveNothing()) std::fill_n(dx, TF_TensorElementCount(tx), 0.0f);
  const auto bounds = Activation::Of(with.activation);
  const std::vector<float> zeros(windows.Width(), 0.0f), ones(windows.Width(), 1.0f);
  windows.ForEach([&](int64_t, int64_t above, int64_t begin, float* apart, float* through) {
    PassBackPooled(dy + begin, windows.Given(x + above, apart), zeros.data(), ones.data(), zeros.data(), bounds.lo, bounds.hi,
                   ones.data(), zeros.data(), zeros.data(), windows.At(dx + above, through));
    windows.Back(dx + above, through);
  });
}

// x, scale, offset, running mean and variance to y, new running mean and (unbiased) variance, mean and 1 / deviation of x.
void BatchNorm(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *ts = context.InputTensor(1), *to = context.InputTensor(2),
            *tm = context.InputTensor(3), *tv = context.InputTensor(4);
  const int64_t channels = ChannelsOf(context, tx, {ts, to, tm, tv});
  float* y = context.OutputLike(0, tx);
  float *running_mean = context.OutputVector(1, channels), *running_variance = context.OutputVector(2, channels),
        *mean = context.OutputVector(3, channels), *inverse = context.OutputVector(4, channels);
  if (!context.Ok()) return;
  const float *x = Data(tx), *scale = Data(ts),
              *offset = Data(to), *old_mean = Data(tm),
              *old_variance = Data(tv);
  const Rows rows(TF_TensorElementCount(tx), channels);
  const auto moments = MomentsOf(x, rows);
  const auto inverses = Inverses(moments.variance.data(), channels, with.epsilon);
  std::vector<float> slope(channels);
  for (int64_t c = 0; c < channels; c++) {
    mean[c] = moments.mean[c];
    inverse[c] = inverses[c];
    slope[c] = scale[c] * inverse[c];
  }
  Move(moments, rows, with.momentum, old_mean, old_variance, running_mean, running_variance);
  const auto bounds = Activation::Of(with.activation);
  const auto wide_mean = rows.Wide(mean), wide_slope = rows.Wide(slope), wide_offset = rows.Wide(offset);
  rows.ForEachBackwards([&](int64_t begin, int64_t count) {
    Normalise(x + begin, count, rows.width, wide_mean.data(), wide_slope.data(), wide_offset.data(), bounds.lo,
              bounds.hi, y + begin);
  });
}

// The same, and the largest number of each window of 2×2 of it. Images whose height or width is odd are refused.
void BatchNormPool(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *ts = context.InputTensor(1), *to = context.InputTensor(2),
            *tm = context.InputTensor(3), *tv = context.InputTensor(4);
  const int64_t channels = ChannelsOf(context, tx, {ts, to, tm, tv});
  const Windows windows(context, tx);
  context.Expect(windows.LeaveNothing(), "windows leave pixels of the images out");
  float* y = context.Output(0, windows.Shape());
  float *running_mean = context.OutputVector(1, channels), *running_variance = context.OutputVector(2, channels),
        *mean = context.OutputVector(3, channels), *inverse = context.OutputVector(4, channels);
  if (!context.Ok()) return;
  const float *x = Data(tx), *scale = Data(ts), *offset = Data(to);
  const Rows rows(TF_TensorElementCount(tx), channels);
  const auto moments = MomentsOf(x, rows);
  const auto inverses = Inverses(moments.variance.data(), channels, with.epsilon);
  std::copy_n(moments.mean.data(), channels, mean);
  std::copy_n(inverses.data(), channels, inverse);
  Move(moments, rows, with.momentum, Data(tm), Data(tv), running_mean, running_variance);
  std::vector<float> slope(channels);
  for (int64_t c = 0; c < channels; c++) slope[c] = scale[c] * inverse[c];
  const auto bounds = Activation::Of(with.activation);
  const auto wide_mean = windows.Wide(mean), wide_slope = windows.Wide(slope.data()), wide_offset = windows.Wide(offset);
  windows.ForEach([&](int64_t, int64_t above, int64_t begin, float* apart, float*) {
    PoolRow(windows.Given(x + above, apart), wide_mean.data(), wide_slope.data(), wide_offset.data(), bounds.lo, bounds.hi,
            y + begin);
  });
}

// x and running mean and variance to mean, biased variance and 1 / deviation of x, and new running mean and (unbiased) variance.
void Statistics(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *tm = context.InputTensor(1), *tv = context.InputTensor(2);
  const int64_t channels = ChannelsOf(context, tx, {tm, tv});
  float* results[5];
  for (int i = 0; i < 5; i++) results[i] = context.OutputVector(i, channels);
  if (!context.Ok()) return;
  const float* x = Data(tx);
  const Rows rows(TF_TensorElementCount(tx), channels);
  const auto moments = MomentsOf(x, rows);
  const auto inverses = Inverses(moments.variance.data(), channels, with.epsilon);
  std::copy_n(moments.mean.data(), channels, results[0]);
  std::copy_n(moments.variance.data(), channels, results[1]);
  std::copy_n(inverses.data(), channels, results[2]);
  Move(moments, rows, with.momentum, Data(tm), Data(tv), results[3], results[4]);
}

// dy, x, scale, offset, mean and 1 / deviation of x to dx and the gradients to scale and offset.
void BatchNormGrad(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(1), *ts = context.InputTensor(2), *to = context.InputTensor(3),
            *tm = context.InputTensor(4), *ti = context.InputTensor(5);
  const int64_t channels = ChannelsOf(context, tx, {ts, to, tm, ti});
  float* dx = context.OutputInPlaceOf(0, 0, tx);
  const float* dy = context.Ok() ? context.Input(0) : nullptr;
  float *to_scale = context.OutputVector(1, channels), *to_offset = context.OutputVector(2, channels);
  if (!context.Ok()) return;
  const float *x = Data(tx), *scale = Data(ts),
              *offset = Data(to), *mean = Data(tm),
              *inverse = Data(ti);
  const Rows rows(TF_TensorElementCount(tx), channels);
  std::vector<float> slope(channels);
  for (int64_t c = 0; c < channels; c++) slope[c] = scale[c] * inverse[c];
  const auto bounds = Activation::Of(with.activation);
  const auto wide_mean = rows.Wide(mean), wide_slope = rows.Wide(slope), wide_offset = rows.Wide(offset);
  Sums sums(rows);
  rows.ForEach([&](int64_t block, int64_t begin, int64_t count) {
    AddGradientSums(dy + begin, x + begin, count, rows.width, wide_mean.data(), wide_slope.data(), wide_offset.data(),
                    bounds.lo, bounds.hi, sums.First(block), sums.Second(block));
  });
  const double n = static_cast<double>(rows.Elements() / channels);
  const auto [first, second] = sums.Total();
  std::vector<float> tilt(channels), level(channels);
  for (int64_t c = 0; c < channels; c++) {
    to_offset[c] = static_cast<float>(first[c]);
    to_scale[c] = static_cast<float>(second[c] * inverse[c]);
    tilt[c] = static_cast<float>(-slope[c] * (second[c] / n) * inverse[c] * inverse[c]);
    level[c] = static_cast<float>(-slope[c] * (first[c] / n));
  }
  const auto wide_tilt = rows.Wide(tilt), wide_level = rows.Wide(level);
  rows.ForEachBackwards([&](int64_t begin, int64_t count) {
    PassBack(dy + begin, x + begin, count, rows.width, wide_mean.data(), wide_slope.data(), wide_offset.data(),
             bounds.lo, bounds.hi, wide_slope.data(), wide_tilt.data(), wide_mean.data(), wide_level.data(),
             dx + begin);
  });
}

// The same through the windows: dy is of these, all else as before.
void BatchNormPoolGrad(const Settings& with, Context& context) {
  TF_Tensor *tdy = context.InputTensor(0), *tx = context.InputTensor(1), *ts = context.InputTensor(2),
            *to = context.InputTensor(3), *tm = context.InputTensor(4), *ti = context.InputTensor(5);
  const int64_t channels = ChannelsOf(context, tx, {ts, to, tm, ti});
  const Windows windows(context, tx);
  context.Expect(windows.LeaveNothing(), "windows leave pixels of the images out");
  float* dx = context.OutputLike(0, tx);
  float *to_scale = context.OutputVector(1, channels), *to_offset = context.OutputVector(2, channels);
  if (!context.Ok()) return;
  const int64_t count = windows.Rows() * windows.Across();
  context.Expect(TF_TensorElementCount(tdy) == count * channels, "the gradient is of another size");
  if (!context.Ok()) return;
  const float *dy = Data(tdy), *x = Data(tx), *scale = Data(ts), *offset = Data(to), *mean = Data(tm),
              *inverse = Data(ti);
  std::vector<float> slope(channels), tilt(channels), level(channels);
  for (int64_t c = 0; c < channels; c++) slope[c] = scale[c] * inverse[c];
  const auto bounds = Activation::Of(with.activation);
  const auto wide_mean = windows.Wide(mean), wide_slope = windows.Wide(slope.data()), wide_offset = windows.Wide(offset);
  Sums sums(windows.blocks, windows.Width(), channels);
  windows.ForEach([&](int64_t block, int64_t above, int64_t begin, float* apart, float*) {
    AddPooledSums(dy + begin, windows.Given(x + above, apart), wide_mean.data(), wide_slope.data(), wide_offset.data(), bounds.lo,
                  bounds.hi, sums.First(block), sums.Second(block));
  });
  const double n = static_cast<double>(4 * count);
  const auto [first, second] = sums.Total();
  for (int64_t c = 0; c < channels; c++) {
    to_offset[c] = static_cast<float>(first[c]);
    to_scale[c] = static_cast<float>(second[c] * inverse[c]);
    tilt[c] = static_cast<float>(-slope[c] * (second[c] / n) * inverse[c] * inverse[c]);
    level[c] = static_cast<float>(-slope[c] * (first[c] / n));
  }
  const auto wide_tilt = windows.Wide(tilt.data()), wide_level = windows.Wide(level.data());
  windows.ForEach([&](int64_t, int64_t above, int64_t begin, float* apart, float* through) {
    PassBackPooled(dy + begin, windows.Given(x + above, apart), wide_mean.data(), wide_slope.data(), wide_offset.data(), bounds.lo,
                   bounds.hi, wide_slope.data(), wide_tilt.data(), wide_level.data(), windows.At(dx + above, through));
    windows.Back(dx + above, through);
  });
}

NormGradient NormGradient::Of(const Settings& with, Context& context, int first, int64_t pixels, int64_t channels) {
  NormGradient gradient;
  if (!context.Ok() || context.Inputs() <= first) return gradient;
  TF_Tensor* given[5];
  for (int i = 0; i < 5; i++) given[i] = context.InputTensor(first + i);
  if (!context.Ok()) return gradient;
  context.Expect(TF_TensorElementCount(given[0]) == pixels * channels, "the images are of another size");
  for (int i = 1; i < 5; i++) context.Expect(TF_TensorElementCount(given[i]) == channels, "not one number a channel");
  if (!context.Ok()) return gradient;
  gradient.x_ = Data(given[0]);
  gradient.pixels_ = pixels;
  gradient.channels_ = channels;
  while (gradient.fold_ < 8 && gradient.fold_ * channels < 128) gradient.fold_ *= 2;
  gradient.bounds_ = Activation::Of(with.activation);
  const float *scale = Data(given[1]), *offset = Data(given[2]), *mean = Data(given[3]), *inverse = Data(given[4]);
  for (int64_t i = 0; i < gradient.Width(); i++) {
    const int64_t c = i % channels;
    gradient.mean_.push_back(mean[c]);
    gradient.slope_.push_back(scale[c] * inverse[c]);
    gradient.offset_.push_back(offset[c]);
    gradient.inverse_.push_back(inverse[c]);
  }
  return gradient;
}

void NormGradient::Add(int64_t part, const float* dy, int64_t begin, int64_t pixels) {
  const float* x = x_ + begin * channels_;
  float *first = sums_.data() + 2 * part * Width(), *second = first + Width();
  const int64_t rows = pixels / fold_, done = rows * Width();
  AddGradientSums(dy, x, rows, Width(), mean_.data(), slope_.data(), offset_.data(), bounds_.lo, bounds_.hi, first, second);
  AddGradientSums(dy + done, x + done, pixels - rows * fold_, channels_, mean_.data(), slope_.data(), offset_.data(),
                  bounds_.lo, bounds_.hi, first, second);
}

void NormGradient::Finish(float* dx, float* to_scale, float* to_offset) const {
  std::vector<double> first(channels_, 0.0), second(channels_, 0.0);
  for (const float *one = sums_.data(), *end = one + sums_.size(); one < end; one += Width()) {
    for (int64_t i = 0; i < fold_; i++, one += channels_)
      for (int64_t c = 0; c < channels_; c++) first[c] += one[c], second[c] += one[c + Width()];
  }
  const double n = static_cast<double>(pixels_);
  std::vector<float> tilt(channels_), level(channels_), slope(channels_);
  for (int64_t c = 0; c < channels_; c++) {
    const float inverse = inverse_[c];
    slope[c] = slope_[c];
    to_offset[c] = static_cast<float>(first[c]);
    to_scale[c] = static_cast<float>(second[c] * inverse);
    tilt[c] = static_cast<float>(-slope[c] * (second[c] / n) * inverse * inverse);
    level[c] = static_cast<float>(-slope[c] * (first[c] / n));
  }
  const Rows rows(pixels_ * channels_, channels_);
  const auto mean = rows.Wide(mean_.data()), wide_slope = rows.Wide(slope), offset = rows.Wide(offset_.data()),
             wide_tilt = rows.Wide(tilt), wide_level = rows.Wide(level);
  rows.ForEachBackwards([&](int64_t begin, int64_t count) {
    PassBack(dx + begin, x_ + begin, count, rows.width, mean.data(), wide_slope.data(), offset.data(), bounds_.lo, bounds_.hi,
             wide_slope.data(), wide_tilt.data(), mean.data(), wide_level.data(), dx + begin);
  });
}

// Pixels of all channels, normalised; where there are others of the same form, plus these; within bounds.
FOR_EACH_PROCESSOR void FinishPixels(float* __restrict y, const float* __restrict plus, int64_t pixels, int64_t channels,
                                     const float* __restrict mean, const float* __restrict slope, const float* __restrict offset,
                                     float lo, float hi) {
  for (int64_t pixel = 0; pixel < pixels; pixel++, y += channels) {
    for (int64_t c = 0; plus == nullptr && c < channels; c++) {
      float z = (y[c] - mean[c]) * slope[c] + offset[c];
      z = z < lo ? lo : z;
      y[c] = z > hi ? hi : z;
    }
    for (int64_t c = 0; plus != nullptr && c < channels; c++) {
      float z = (y[c] - mean[c]) * slope[c] + offset[c] + plus[c];
      z = z < lo ? lo : z;
      y[c] = z > hi ? hi : z;
    }
    if (plus != nullptr) plus += channels;
  }
}

void Finish::Apply(float* y, int64_t at, int64_t pixels, int64_t channels) const {
  FinishPixels(y + at, plus_ == nullptr ? nullptr : plus_ + at, pixels, channels, after_.Mean(), after_.Slope(), after_.Offset(),
               after_.Least(), after_.Most());
}

ImageMoments ImageMoments::Of(Context& context, int first, int64_t channels) {
  ImageMoments moments;
  if (!context.Ok() || context.Outputs() <= first) return moments;
  moments.mean_ = context.OutputVector(first, channels);
  moments.variance_ = context.OutputVector(first + 1, channels);
  moments.channels_ = channels;
  while (moments.fold_ < 8 && moments.fold_ * channels < 128) moments.fold_ *= 2;
  return moments;
}

void ImageMoments::Expect(int64_t parts) {
  if (!Any()) return;
  sums_.assign(3 * parts * Width(), 0.0f);
  counts_.assign(parts, 0);
}

void ImageMoments::Add(int64_t part, const float* y, int64_t pixels) {
  float *shift = sums_.data() + 3 * part * Width(), *first = shift + Width(), *second = first + Width();
  if (counts_[part] == 0)
    for (int64_t i = 0; i < fold_; i++) std::copy_n(y, channels_, shift + i * channels_);
  const int64_t rows = pixels / fold_;
  AddSums(y, rows, Width(), shift, first, second);
  AddSums(y + rows * Width(), pixels - rows * fold_, channels_, shift, first, second);
  counts_[part] += pixels;
}

void ImageMoments::Finish() const {
  const int64_t parts = counts_.size();
  std::vector<double> mean(channels_, 0.0), spread(channels_, 0.0);
  double n = 0;
  for (int64_t part = 0; part < parts; part++) {
    const double count = static_cast<double>(counts_[part]);
    if (count == 0) continue;
    const float *shift = sums_.data() + 3 * part * Width(), *first = shift + Width(), *second = first + Width();
    for (int64_t c = 0; c < channels_; c++) {
      double sum = 0, squares = 0;
      for (int64_t i = c; i < Width(); i += channels_) sum += first[i], squares += second[i];
      // Two lots of numbers as one: their means weighed, and their distance beside their spreads.
      const double here = shift[c] + sum / count, apart = here - mean[c];
      spread[c] += (squares - sum * sum / count) + apart * apart * (n * count / (n + count));
      mean[c] += apart * (count / (n + count));
    }
    n += count;
  }
  for (int64_t c = 0; c < channels_; c++) {
    mean_[c] = static_cast<float>(mean[c]);
    // A number that is none stays none.
    const double variance = spread[c] / n;
    variance_[c] = static_cast<float>(variance < 0 ? 0 : variance);
  }
}

// Mean and biased variance of a batch, and running mean and variance, to 1 / deviation and the new running ones.
void RunningStatistics(const Settings& with, Context& context) {
  TF_Tensor* given[4];
  for (int i = 0; i < 4; i++) given[i] = context.InputTensor(i);
  const int64_t channels = ChannelsOf(context, given[0], {given[1], given[2], given[3]});
  float* results[3];
  for (int i = 0; i < 3; i++) results[i] = context.OutputVector(i, channels);
  if (!context.Ok()) return;
  const float *mean = Data(given[0]), *variance = Data(given[1]), *old_mean = Data(given[2]), *old_variance = Data(given[3]);
  const auto inverses = Inverses(variance, channels, with.epsilon);
  const double n = static_cast<double>(with.count), unbiased = n > 1 ? n / (n - 1) : 1;
  for (int64_t c = 0; c < channels; c++) {
    results[0][c] = inverses[c];
    results[1][c] = old_mean[c] + with.momentum * (mean[c] - old_mean[c]);
    results[2][c] = old_variance[c] + with.momentum * (static_cast<float>(variance[c] * unbiased) - old_variance[c]);
  }
}

// x, scale, offset, mean and variance to y, and to mean and biased variance of x where those are asked for, else to zeros.
void Normalisation(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *ts = context.InputTensor(1), *to = context.InputTensor(2),
            *tm = context.InputTensor(3), *tv = context.InputTensor(4);
  const int64_t channels = ChannelsOf(context, tx, {ts, to, tm, tv});
  float* y = context.OutputLike(0, tx);
  float *own_mean = context.OutputVector(1, channels), *own_variance = context.OutputVector(2, channels);
  if (!context.Ok()) return;
  const float *x = Data(tx), *scale = Data(ts),
              *offset = Data(to), *mean = Data(tm),
              *variance = Data(tv);
  const Rows rows(TF_TensorElementCount(tx), channels);
  const auto slope = Slopes(scale, variance, channels, with.epsilon);
  const auto bounds = Activation::Of(with.activation);
  const auto wide_mean = rows.Wide(mean), wide_slope = rows.Wide(slope), wide_offset = rows.Wide(offset),
             shift = rows.Wide(x);
  Sums sums(rows);
  rows.ForEach([&](int64_t block, int64_t begin, int64_t count) {
    if (with.moments) AddSums(x + begin, count, rows.width, shift.data(), sums.First(block), sums.Second(block));
    Normalise(x + begin, count, rows.width, wide_mean.data(), wide_slope.data(), wide_offset.data(), bounds.lo,
              bounds.hi, y + begin);
  });
  std::fill_n(own_mean, channels, 0.0f);
  std::fill_n(own_variance, channels, 0.0f);
  if (!with.moments) return;
  const Moments moments(sums, rows, x);
  std::copy_n(moments.mean.data(), channels, own_mean);
  std::copy_n(moments.variance.data(), channels, own_variance);
}

// x, bias (or nothing), scale, offset, mean and variance to the largest number of each window of 2×2 of (x + bias) normalised.
void NormalisePool(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *tb = context.InputTensor(1), *ts = context.InputTensor(2), *to = context.InputTensor(3),
            *tm = context.InputTensor(4), *tv = context.InputTensor(5);
  const int64_t channels = ChannelsOf(context, tx, {ts, to, tm, tv});
  const Windows windows(context, tx);
  float* y = context.Output(0, windows.Shape());
  if (!context.Ok()) return;
  const int64_t biases = TF_TensorElementCount(tb);
  context.Expect(biases == 0 || biases == channels, "not one bias a channel");
  if (!context.Ok()) return;
  const float* x = Data(tx);
  const auto slope = Slopes(Data(ts), Data(tv), channels, with.epsilon);
  const auto bounds = Activation::Of(with.activation);
  const auto mean = windows.Wide(Data(tm)), wide_slope = windows.Wide(slope.data()), offset = windows.Wide(Data(to)),
             bias = biases == 0 ? std::vector<float>() : windows.Wide(Data(tb));
  windows.ForEach([&](int64_t, int64_t above, int64_t begin, float* apart, float*) {
    const auto given = windows.Given(x + above, apart);
    if (bias.empty()) {
      PoolRow(given, mean.data(), wide_slope.data(), offset.data(), bounds.lo, bounds.hi, y + begin);
    } else {
      PoolBiasedRow(given, bias.data(), mean.data(), wide_slope.data(), offset.data(), bounds.lo, bounds.hi, y + begin);
    }
  });
}

// dy, x, scale, offset, mean, variance, and of the moments of x where they were asked for: mean, and the gradients to mean and
// variance. To dx.
void NormalisationGrad(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(1), *ts = context.InputTensor(2), *to = context.InputTensor(3),
            *tm = context.InputTensor(4), *tv = context.InputTensor(5), *tc = context.InputTensor(6),
            *tdm = context.InputTensor(7), *tdv = context.InputTensor(8);
  const int64_t channels = ChannelsOf(context, tx, {ts, to, tm, tv, tc, tdm, tdv});
  float* dx = context.OutputInPlaceOf(0, 0, tx);
  const float* dy = context.Ok() ? context.Input(0) : nullptr;
  if (!context.Ok()) return;
  const float *x = Data(tx), *scale = Data(ts),
              *offset = Data(to), *mean = Data(tm),
              *variance = Data(tv), *centre = Data(tc),
              *to_mean = Data(tdm), *to_variance = Data(tdv);
  const Rows rows(TF_TensorElementCount(tx), channels);
  const auto slope = Slopes(scale, variance, channels, with.epsilon);
  const auto wide_slope = rows.Wide(slope);
  const auto bounds = Activation::Of(with.activation);
  if (!with.moments && !bounds.Bounds()) {
    rows.ForEach([&](int64_t, int64_t begin, int64_t count) {
      Scale(dy + begin, count, rows.width, wide_slope.data(), dx + begin);
    });
    return;
  }
  const float n = static_cast<float>(rows.Elements() / channels);
  std::vector<float> tilt(channels), level(channels);
  for (int64_t c = 0; with.moments && c < channels; c++) {
    tilt[c] = 2.0f * to_variance[c] / n;
    level[c] = to_mean[c] / n;
  }
  const auto wide_mean = rows.Wide(mean), wide_offset = rows.Wide(offset), wide_tilt = rows.Wide(tilt),
             wide_centre = rows.Wide(with.moments ? centre : mean), wide_level = rows.Wide(level);
  rows.ForEach([&](int64_t, int64_t begin, int64_t count) {
    PassBack(dy + begin, x + begin, count, rows.width, wide_mean.data(), wide_slope.data(), wide_offset.data(),
             bounds.lo, bounds.hi, wide_slope.data(), wide_tilt.data(), wide_centre.data(), wide_level.data(),
             dx + begin);
  });
}

// Images and a bias for each channel to their sum.
void Bias(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *tb = context.InputTensor(1);
  const int64_t channels = ChannelsOf(context, tx, {tb});
  float* y = context.OutputLike(0, tx);
  if (!context.Ok()) return;
  const float *x = Data(tx), *bias = Data(tb);
  const Rows rows(TF_TensorElementCount(tx), channels);
  const auto bounds = Activation::Of(with.activation);
  const std::vector<float> zeros(rows.width, 0.0f), ones(rows.width, 1.0f);
  const auto wide_bias = rows.Wide(bias);
  rows.ForEach([&](int64_t, int64_t begin, int64_t count) {
    Normalise(x + begin, count, rows.width, zeros.data(), ones.data(), wide_bias.data(), bounds.lo, bounds.hi,
              y + begin);
  });
}

// Images to the sum of each channel: the gradient to a bias that nothing follows.
void ChannelSums(const Settings&, Context& context) {
  TF_Tensor* tx = context.InputTensor(0);
  const int64_t channels = ChannelsOf(context, tx, {});
  float* sum = context.OutputVector(0, channels);
  if (!context.Ok()) return;
  const float* x = Data(tx);
  const Rows rows(TF_TensorElementCount(tx), channels);
  const std::vector<float> zeros(rows.width, 0.0f);
  Sums sums(rows);
  rows.ForEach([&](int64_t block, int64_t begin, int64_t count) {
    AddSums(x + begin, count, rows.width, zeros.data(), sums.First(block), sums.Second(block));
  });
  const auto [first, second] = sums.Total();
  for (int64_t c = 0; c < channels; c++) sum[c] = static_cast<float>(first[c]);
}

// dy and y, after an activation, to the gradients to the images and to the bias.
void BiasGrad(const Settings& with, Context& context) {
  TF_Tensor* ty = context.InputTensor(1);
  const int64_t channels = ChannelsOf(context, ty, {});
  float* dx = context.OutputInPlaceOf(0, 0, ty);
  const float* dy = context.Ok() ? context.Input(0) : nullptr;
  float* to_bias = context.OutputVector(1, channels);
  if (!context.Ok()) return;
  const float* y = Data(ty);
  const Rows rows(TF_TensorElementCount(ty), channels);
  const auto bounds = Activation::Of(with.activation);
  const std::vector<float> zeros(rows.width, 0.0f), ones(rows.width, 1.0f);
  Sums sums(rows);
  rows.ForEach([&](int64_t block, int64_t begin, int64_t count) {
    AddGradientSums(dy + begin, y + begin, count, rows.width, zeros.data(), ones.data(), zeros.data(), bounds.lo,
                    bounds.hi, sums.First(block), sums.Second(block));
    PassBack(dy + begin, y + begin, count, rows.width, zeros.data(), ones.data(), zeros.data(), bounds.lo, bounds.hi,
             ones.data(), zeros.data(), zeros.data(), zeros.data(), dx + begin);
  });
  const auto [first, second] = sums.Total();
  for (int64_t c = 0; c < channels; c++) to_bias[c] = static_cast<float>(first[c]);
}

}  // namespace undistill
