// Depthwise convolutions of 3 by 3: each channel by a kernel of its own. They read and write far more than they compute, so
// what matters is that every image goes through the cache once.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "channels.h"
#include "normalised.h"
#include "operation.h"
#include "workers.h"
#include "workspace.h"

namespace undistill {
namespace {

constexpr int64_t kSide = 3, kPlaces = kSide * kSide;
// Pixels of a row that are done together.
constexpr int64_t kTogether = 8;

// Images [n, height, width, channels] to [n, down, across, channels].
struct Convolution {
  int64_t n, height, width, channels, stride, padding;

  int64_t Down() const { return (height + 2 * padding - kSide) / stride + 1; }
  int64_t Across() const { return (width + 2 * padding - kSide) / stride + 1; }
};

#if defined(__GNUC__)
// 16 channels, which a processor has in as many registers as it takes.
constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(64), aligned(4), may_alias));

#define AT(pointer) (*reinterpret_cast<const Lanes*>(pointer))
#define STORE(pointer, value) (*reinterpret_cast<Lanes*>(pointer) = (value))

// Channels by 16s; the last ones may be among those before them once more, which then have the same results.
inline int64_t Begin(int64_t block, int64_t channels) { return std::min(block * kLanes, channels - kLanes); }
inline int64_t BlocksOf(int64_t channels) { return (channels + kLanes - 1) / kLanes; }

// A row of results from three rows of what is given, each of `width` pixels, by kernels [3, 3, channels]; what is beside a row is
// zero. Turned, kernels are by 180 degrees.
FOR_EACH_PROCESSOR void Row(const float* const* given, int64_t width, int64_t channels, int64_t stride, int64_t padding,
                            const float* filter, bool turned, int64_t across, float* y) {
  // Results all of whose columns are inside.
  const int64_t first = std::min(across, (padding + stride - 1) / stride),
                last = std::max(first, std::min(across, (width + padding - kSide) / stride + 1));
  // A few results at a time, all of their channels: so memory is met in its order.
  for (int64_t from = 0; from < across; from += kTogether) {
    const int64_t to = std::min(across, from + kTogether), begin = std::clamp(first, from, to), end = std::clamp(last, from, to);
    for (int64_t block = 0; block < BlocksOf(channels); block++) {
      const int64_t c = Begin(block, channels);
      const auto weight = [&](int64_t place) __attribute__((always_inline)) {
        return filter + (turned ? kPlaces - 1 - place : place) * channels + c;
      };
      const auto edge = [&](int64_t at) __attribute__((always_inline)) {
        Lanes sum{};
        for (int64_t j = 0; j < kSide; j++) {
          const int64_t column = at * stride - padding + j;
          if (column < 0 || column >= width) continue;
          for (int64_t i = 0; i < kSide; i++) sum += AT(given[i] + column * channels + c) * AT(weight(i * kSide + j));
        }
        STORE(y + at * channels + c, sum);
      };
      for (int64_t at = from; at < begin; at++) edge(at);
      const Lanes w0 = AT(weight(0)), w1 = AT(weight(1)), w2 = AT(weight(2)), w3 = AT(weight(3)), w4 = AT(weight(4)),
                  w5 = AT(weight(5)), w6 = AT(weight(6)), w7 = AT(weight(7)), w8 = AT(weight(8));
      const int64_t start = (begin * stride - padding) * channels + c;
      const float *r0 = given[0] + start, *r1 = given[1] + start, *r2 = given[2] + start;
      for (int64_t at = begin; at < end; at++) {
        Lanes a = AT(r0) * w0, b = AT(r1) * w3, d = AT(r2) * w6;
        a += AT(r0 + channels) * w1, b += AT(r1 + channels) * w4, d += AT(r2 + channels) * w7;
        a += AT(r0 + 2 * channels) * w2, b += AT(r1 + 2 * channels) * w5, d += AT(r2 + 2 * channels) * w8;
        STORE(y + at * channels + c, a + b + d);
        r0 += stride * channels, r1 += stride * channels, r2 += stride * channels;
      }
      for (int64_t at = end; at < to; at++) edge(at);
    }
  }
}

// A row of the gradient to images where these were convolved at a stride: `rows` rows of the gradient to the result, which that
// row of images had a part in by the given rows of kernels.
FOR_EACH_PROCESSOR void RowBack(const float* const* given, const int64_t* lines, int64_t rows, const Convolution& of,
                                const float* filter, float* dx) {
  const int64_t channels = of.channels, across = of.Across(), together = kTogether * of.stride;
  for (int64_t start = 0; start < of.width; start += together) {
    const int64_t end = std::min(of.width, start + together);
    for (int64_t block = 0; block < BlocksOf(channels); block++) {
      const int64_t c = Begin(block, channels);
      // Pixels that are a stride apart are met by the same columns of kernels.
      for (int64_t phase = 0; phase < of.stride; phase++) {
        const int64_t begin = (phase + of.padding) % of.stride;
        for (int64_t at = start + phase, column = (at + of.padding) / of.stride; at < end; at += of.stride, column++) {
          Lanes sum{};
          for (int64_t j = begin, from = column; j < kSide; j += of.stride, from--) {
            if (from < 0 || from >= across) continue;
            for (int64_t i = 0; i < rows; i++)
              sum += AT(given[i] + from * channels + c) * AT(filter + (lines[i] * kSide + j) * channels + c);
          }
          STORE(dx + at * channels + c, sum);
        }
      }
    }
  }
}

// Adds what three rows of images and a row of the gradient to the result give to sums [3, 3, channels].
FOR_EACH_PROCESSOR void AddProducts(const float* const* given, const float* dy, const Convolution& of, int64_t across,
                                    float* sums) {
  const int64_t channels = of.channels, width = of.width, stride = of.stride, padding = of.padding;
  const int64_t first = std::min(across, (padding + stride - 1) / stride),
                last = std::max(first, std::min(across, (width + padding - kSide) / stride + 1));
  for (int64_t block = 0; block < BlocksOf(channels); block++) {
    const int64_t c = Begin(block, channels);
    Lanes s[kPlaces] = {};
    const auto edge = [&](int64_t at) __attribute__((always_inline)) {
      const Lanes g = AT(dy + at * channels + c);
#pragma GCC unroll 3
      for (int64_t j = 0; j < kSide; j++) {
        const int64_t column = at * stride - padding + j;
        if (column < 0 || column >= width) continue;
#pragma GCC unroll 3
        for (int64_t i = 0; i < kSide; i++) s[i * kSide + j] += AT(given[i] + column * channels + c) * g;
      }
    };
    for (int64_t at = 0; at < first; at++) edge(at);
    for (int64_t at = first; at < last; at++) {
      const Lanes g = AT(dy + at * channels + c);
      const int64_t start = (at * stride - padding) * channels + c;
#pragma GCC unroll 3
      for (int64_t i = 0; i < kSide; i++) {
#pragma GCC unroll 3
        for (int64_t j = 0; j < kSide; j++) s[i * kSide + j] += AT(given[i] + start + j * channels) * g;
      }
    }
    for (int64_t at = last; at < across; at++) edge(at);
    // The last block's first channels may be those of the block before: they were added there.
    const int64_t done = block * kLanes - c;
    for (int64_t place = 0; place < kPlaces; place++) {
      float* to = sums + place * channels + c;
      if (done == 0)
        STORE(to, AT(to) + s[place]);
      else
        for (int64_t lane = done; lane < kLanes; lane++) to[lane] += s[place][lane];
    }
  }
}

// Pixels of all channels, normalised.
FOR_EACH_PROCESSOR void Normalise(const float* __restrict x, int64_t pixels, int64_t channels, const float* __restrict mean,
                                  const float* __restrict slope, const float* __restrict offset, float lo, float hi,
                                  float* __restrict y) {
  for (int64_t i = 0; i < pixels; i++, x += channels, y += channels) {
    for (int64_t c = 0; c < channels; c++) {
      float z = (x[c] - mean[c]) * slope[c] + offset[c];
      z = z < lo ? lo : z;
      y[c] = z > hi ? hi : z;
    }
  }
}

bool CanConvolve() { return true; }
#else
constexpr int64_t kLanes = 1;
void Row(const float* const*, int64_t, int64_t, int64_t, int64_t, const float*, bool, int64_t, float*) {}
void RowBack(const float* const*, const int64_t*, int64_t, const Convolution&, const float*, float*) {}
void AddProducts(const float* const*, const float*, const Convolution&, int64_t, float*) {}
void Normalise(const float*, int64_t, int64_t, const float*, const float*, const float*, float, float, float*) {}
bool CanConvolve() { return false; }
#endif

// Three rows of an image at a time, from above to below, with zeros for those outside of it. Where they are to be normalised, the
// last three that were.
class Three {
 public:
  Three(const Convolution& of, const Normal& normal, const float* zeros)
      : of_(of), normal_(normal), zeros_(zeros), kept_(std::max<int64_t>(1, normal.Any() ? kSide * Row() : 0)) {}

  void Begin(const float* image) {
    image_ = image;
    next_ = 0;
  }

  // The rows from `top` on.
  const float* const* At(int64_t top) {
    for (int64_t i = 0; i < kSide; i++) {
      const int64_t row = top + i;
      rows_[i] = row < 0 || row >= of_.height ? zeros_ : normal_.Any() ? Normalised(row) : image_ + row * Row();
    }
    return rows_;
  }

 private:
  int64_t Row() const { return of_.width * of_.channels; }

  const float* Normalised(int64_t row) {
    float* kept = kept_.Data() + row % kSide * Row();
    if (row >= next_) {
      Normalise(image_ + row * Row(), of_.width, of_.channels, normal_.Mean(), normal_.Slope(), normal_.Offset(),
                normal_.Least(), normal_.Most(), kept);
      next_ = row + 1;
    }
    return kept;
  }

  const Convolution& of_;
  const Normal& normal_;
  const float* zeros_;
  const Workspace kept_;
  const float *image_ = nullptr, *rows_[kSide];
  int64_t next_ = 0;
};

// Images, or parts of some, so that threads have enough to share; whole ones where each has its own sums.
void ForEachPart(int64_t n, int64_t height, bool whole,
                 const std::function<void(int64_t image, int64_t begin, int64_t end)>& body) {
  const int64_t parts = n >= 8 || whole ? 1 : std::min<int64_t>(height, 8);
  Workers().Run(n * parts, [&](int64_t i) {
    const int64_t part = i % parts;
    body(i / parts, height * part / parts, height * (part + 1) / parts);
  });
}

void Convolve(const Convolution& of, const float* x, const Normal& normal, const float* filter, ImageMoments& moments,
              const Finish& finish, float* y) {
  const int64_t row = of.width * of.channels, result = of.Across() * of.channels;
  const std::vector<float> zeros(row, 0.0f);
  ForEachPart(of.n, of.Down(), moments.Any(), [&](int64_t image, int64_t begin, int64_t end) {
    Three three(of, normal, zeros.data());
    three.Begin(x + image * of.height * row);
    for (int64_t at = begin; at < end; at++) {
      float* to = y + (image * of.Down() + at) * result;
      Row(three.At(at * of.stride - of.padding), of.width, of.channels, of.stride, of.padding, filter, false, of.Across(), to);
      if (moments.Any()) moments.Add(image, to, of.Across());
      if (finish.Any()) finish.Apply(y, to - y, of.Across(), of.channels);
    }
  });
}

// The rows of an image's gradient, which at a stride of 1 is a convolution too.
class RowsBack {
 public:
  RowsBack(const Convolution& of, const float* dy, const float* filter)
      : of_(of),
        turned_{of.n, of.Down(), of.Across(), of.channels, 1, kSide - 1 - of.padding},
        zeros_(turned_.width * of.channels, 0.0f),
        three_(turned_, normal_, zeros_.data()),
        filter_(filter) {
    Begin(dy);
  }

  void Begin(const float* dy) {
    dy_ = dy;
    three_.Begin(dy);
  }

  void At(int64_t at, float* dx) {
    if (of_.stride == 1)
      return Row(three_.At(at - turned_.padding), turned_.width, of_.channels, 1, turned_.padding, filter_, true, of_.width, dx);
    const float* given[kSide];
    int64_t lines[kSide], rows = 0;
    for (int64_t i = (at + of_.padding) % of_.stride; i < kSide; i += of_.stride) {
      const int64_t from = (at + of_.padding - i) / of_.stride;
      if (at + of_.padding < i || from >= of_.Down()) continue;
      given[rows] = dy_ + from * turned_.width * of_.channels;
      lines[rows++] = i;
    }
    RowBack(given, lines, rows, of_, filter_, dx);
  }

 private:
  const Convolution& of_;
  const Convolution turned_;
  const Normal normal_;
  const std::vector<float> zeros_;
  Three three_;
  const float *dy_ = nullptr, *filter_;
};

void ConvolveBack(const Convolution& of, const float* dy, const float* filter, float* dx) {
  const int64_t row = of.width * of.channels, result = of.Across() * of.channels;
  ForEachPart(of.n, of.height, false, [&](int64_t image, int64_t begin, int64_t end) {
    RowsBack rows(of, dy + image * of.Down() * result, filter);
    for (int64_t at = begin; at < end; at++) rows.At(at, dx + (image * of.height + at) * row);
  });
}

// Sums for the gradient to the filter: each of some groups of images has its own, whatever the number of threads.
class FilterSums {
 public:
  explicit FilterSums(const Convolution& of)
      : of_(of), zeros_(of.width * of.channels, 0.0f), groups_(std::min<int64_t>(of.n, 32)), sums_(groups_ * Size(), 0.0f) {}

  void ForEachGroup(const std::function<void(int64_t group, int64_t begin, int64_t end)>& body) const {
    Workers().Run(groups_, [&](int64_t group) { body(group, of_.n * group / groups_, of_.n * (group + 1) / groups_); });
  }

  const float* Zeros() const { return zeros_.data(); }

  // Adds a row of the gradient to the result.
  void Add(int64_t group, Three& images, int64_t at, const float* dy) {
    AddProducts(images.At(at * of_.stride - of_.padding), dy, of_, of_.Across(), sums_.data() + group * Size());
  }

  void Finish(float* filter) const {
    std::copy_n(sums_.data(), Size(), filter);
    for (int64_t group = 1; group < groups_; group++)
      for (int64_t i = 0; i < Size(); i++) filter[i] += sums_[group * Size() + i];
  }

 private:
  int64_t Size() const { return kPlaces * of_.channels; }

  const Convolution& of_;
  const std::vector<float> zeros_;
  const int64_t groups_;
  std::vector<float> sums_;
};

void ConvolveToFilter(const Convolution& of, const float* x, const float* dy, float* filter) {
  const int64_t row = of.width * of.channels, result = of.Across() * of.channels;
  FilterSums sums(of);
  sums.ForEachGroup([&](int64_t group, int64_t begin, int64_t end) {
    const Normal none;
    Three three(of, none, sums.Zeros());
    for (int64_t image = begin; image < end; image++) {
      three.Begin(x + image * of.height * row);
      for (int64_t at = 0; at < of.Down(); at++) sums.Add(group, three, at, dy + (image * of.Down() + at) * result);
    }
  });
  sums.Finish(filter);
}

// Both gradients at once, where what was convolved are x normalised: what of x and dy the one needs, the other finds in the cache.
void ConvolveBackNormalised(const Convolution& of, const float* dy, const float* filter, NormGradient& through, float* dx,
                            float* to_filter) {
  const int64_t row = of.width * of.channels, result = of.Across() * of.channels;
  const Normal normal = through.Forwards();
  FilterSums sums(of);
  through.Expect(of.n);
  sums.ForEachGroup([&](int64_t group, int64_t begin, int64_t end) {
    RowsBack rows(of, dy, filter);
    Three three(of, normal, sums.Zeros());
    for (int64_t image = begin; image < end; image++) {
      const float* given = dy + image * of.Down() * result;
      rows.Begin(given);
      three.Begin(through.Images() + image * of.height * row);
      for (int64_t at = 0, added = 0; at < of.height; at++) {
        const int64_t pixel = (image * of.height + at) * of.width;
        rows.At(at, dx + pixel * of.channels);
        through.Add(image, dx + pixel * of.channels, pixel, of.width);
        for (; added < of.Down() * (at + 1) / of.height; added++) sums.Add(group, three, added, given + added * result);
      }
    }
  });
  sums.Finish(to_filter);
}

void Check(const Convolution& of, Context& context) {
  context.Expect(of.stride > 0 && of.padding >= 0 && of.padding < kSide, "no stride, or more zeros than kernel");
  context.Expect(of.n > 0 && of.height + 2 * of.padding >= kSide && of.width + 2 * of.padding >= kSide,
                 "images smaller than the kernel");
  context.Expect(of.channels >= kLanes && CanConvolve(), "too few channels");
}

bool IsFilter(TF_Tensor* filter, int64_t channels) {
  return TF_NumDims(filter) == 4 && TF_Dim(filter, 0) == kSide && TF_Dim(filter, 1) == kSide &&
         TF_TensorElementCount(filter) == kPlaces * channels;
}

}  // namespace

// Images [n, h, w, c] and a filter [3, 3, 1, c] to [n, down, across, c].
void Depthwise(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *tf = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(tx) == 4, "no images");
  if (!context.Ok()) return;
  const Convolution of{TF_Dim(tx, 0), TF_Dim(tx, 1), TF_Dim(tx, 2), TF_Dim(tx, 3), with.stride, with.padding};
  Check(of, context);
  context.Expect(IsFilter(tf, of.channels), "the filter is for another number of channels");
  if (!context.Ok()) return;
  const auto normal = Normal::Of(with, context, 2, of.channels);
  const auto finish = Finish::Of(with, context, 6, of.channels, of.n * of.Down() * of.Across() * of.channels);
  float* y = context.Output(0, {of.n, of.Down(), of.Across(), of.channels});
  auto moments = ImageMoments::Of(context, 1, of.channels);
  if (!context.Ok()) return;
  moments.Expect(of.n);
  Convolve(of, Data(tx), normal, Data(tf), moments, finish, y);
  if (moments.Any()) moments.Finish();
}

// The gradient to the result and the filter to the gradient to the images, [n, height, width, c]; where these are x normalised, to
// those to x, scale, offset and the filter.
void DepthwiseToImages(const Settings& with, Context& context) {
  TF_Tensor *td = context.InputTensor(0), *tf = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(td) == 4, "no images");
  if (!context.Ok()) return;
  const Convolution of{TF_Dim(td, 0), with.height, with.width, TF_Dim(td, 3), with.stride, with.padding};
  Check(of, context);
  context.Expect(IsFilter(tf, of.channels), "the filter is for another number of channels");
  if (!context.Ok()) return;
  context.Expect(TF_Dim(td, 1) == of.Down() && TF_Dim(td, 2) == of.Across(), "the images are of another size");
  auto through = NormGradient::Of(with, context, 2, of.n * of.height * of.width, of.channels);
  float* dx = context.Output(0, {of.n, of.height, of.width, of.channels});
  float *to_scale = through.Any() ? context.OutputVector(1, of.channels) : nullptr,
        *to_offset = through.Any() ? context.OutputVector(2, of.channels) : nullptr,
        *to_filter = through.Any() ? context.Output(3, {kSide, kSide, 1, of.channels}) : nullptr;
  if (!context.Ok()) return;
  if (!through.Any()) return ConvolveBack(of, Data(td), Data(tf), dx);
  ConvolveBackNormalised(of, Data(td), Data(tf), through, dx, to_filter);
  through.Finish(dx, to_scale, to_offset);
}

// Images and the gradient to the result to the gradient to the filter, [3, 3, 1, c].
void DepthwiseToFilter(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *td = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(tx) == 4 && TF_NumDims(td) == 4, "no images");
  if (!context.Ok()) return;
  const Convolution of{TF_Dim(tx, 0), TF_Dim(tx, 1), TF_Dim(tx, 2), TF_Dim(tx, 3), with.stride, with.padding};
  Check(of, context);
  if (!context.Ok()) return;
  context.Expect(TF_Dim(td, 0) == of.n && TF_Dim(td, 1) == of.Down() && TF_Dim(td, 2) == of.Across() &&
                     TF_Dim(td, 3) == of.channels,
                 "the images are of another size");
  float* filter = context.Output(0, {kSide, kSide, 1, of.channels});
  if (!context.Ok()) return;
  ConvolveToFilter(of, Data(tx), Data(td), filter);
}

}  // namespace undistill
