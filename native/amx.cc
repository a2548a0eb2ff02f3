// Convolutions by matrix instructions (AMX): factors are rounded to bfloat16, sums and results are float32.
//
// In a convolution, and in the gradient to images, which is one too, a register's rows are the same pixel of 16 images, and what is
// summed over are the channels of the pixels of a line of the kernel, which lie side by side. In the gradient to the filter what is
// summed over are 32 images.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "avx512.h"
#include "gathering.h"
#include "matrices.h"
#include "operation.h"
#include "vectors.h"
#include "workers.h"
#include "workspace.h"

namespace undistill {
namespace {

#if defined(HAS_AMX)
bool CanConvolve() { return HasMatrices(); }

/* Numbers to factors */

// Up to 16 numbers, and zeros.
BFLOAT16_INLINE __m512 Some(const float* from, int64_t count) {
  return _mm512_maskz_loadu_ps(Lanes(count), from);
}

// The first numbers and then the second ones, rounded.
BFLOAT16_INLINE __m512i Rounded(__m512 first, __m512 second) { return (__m512i)_mm512_cvtne2ps_pbh(second, first); }

// A number of the first and one of the second in turn, rounded.
BFLOAT16_INLINE __m512i RoundedInTurn(__m512 first, __m512 second) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), Rounded(first, second));
}

BFLOAT16 void Round(const float* from, int64_t count, Bfloat16* to) {
  for (int64_t i = 0; i < count; i += 32) {
    const int64_t left = std::min<int64_t>(32, count - i);
    const __m512i factors = Rounded(Some(from + i, left), left > 16 ? Some(from + i + 16, left - 16) : _mm512_setzero_ps());
    _mm512_mask_storeu_epi16(to + i, static_cast<__mmask32>(left == 32 ? 0xffffffff : (1u << left) - 1), factors);
  }
}

/* Images from images: forwards, and the gradient to them */

// Registers that the factors of a line of the kernel fill.
int64_t Fills(const Gathering& of, const Phase& columns) {
  return (static_cast<int64_t>(columns.kernel.size()) * of.from + kFactors - 1) / kFactors;
}

// The filter for a phase of rows and one of columns: [to / 16, lines of the kernel, fills] registers of 16 pairs of factors for 16
// output channels. What no pixel belongs to is zero.
class Filter {
 public:
  Filter(const Gathering& of, const float* filter) : of_(of) {
    int64_t registers = 0;
    for (const Phase& down : of.rows) {
      for (const Phase& across : of.columns) {
        begins_.push_back(registers);
        registers += of.to / kRows * Lines(down) * Fills(of, across);
      }
    }
    factors_.emplace(registers * kRegister);
    const int64_t blocks = of.to / kRows, phases = static_cast<int64_t>(begins_.size());
    Workers().Run(phases * blocks, [&](int64_t i) { Fill(filter, i / blocks, i % blocks); });
  }

  // Of 16 output channels for a line of the kernel.
  Bfloat16* Line(int64_t phase, int64_t block, int64_t line) const {
    const auto [down, across] = PhasesOf(phase);
    return factors_->Data() + (begins_[phase] + (block * Lines(*down) + line) * Fills(of_, *across)) * kRegister;
  }

 private:
  static int64_t Lines(const Phase& phase) { return static_cast<int64_t>(phase.kernel.size()); }

  std::pair<const Phase*, const Phase*> PhasesOf(int64_t phase) const {
    const int64_t across = static_cast<int64_t>(of_.columns.size());
    return {&of_.rows[phase / across], &of_.columns[phase % across]};
  }

  void Fill(const float* filter, int64_t phase, int64_t block) {
    const auto [down, across] = PhasesOf(phase);
    const int64_t fills = Fills(of_, *across);
    for (int64_t line = 0; line < Lines(*down); line++) {
      const float* weights = filter + down->kernel[line] * of_.kernel * of_.from * of_.to;
      Bfloat16* to = Line(phase, block, line);
      for (int64_t fill = 0; fill < fills; fill++, to += kRegister) {
        if (of_.turned)
          FillTurned(weights, *across, block, fill * kFactors, to);
        else
          FillStraight(weights, *across, block, fill * kFactors, to);
      }
    }
  }

  // Forwards, a line of the kernel is used as it is: [its factors, to].
  BFLOAT16 void FillStraight(const float* line, const Phase& across, int64_t block, int64_t begin, Bfloat16* to) const {
    const auto factor = [&](int64_t i) BFLOAT16_HERE {
      return i < Lines(across) * of_.from ? _mm512_loadu_ps(line + i * of_.to + block * kRows) : _mm512_setzero_ps();
    };
    for (int64_t i = 0; i < kFactors; i += 2)
      _mm512_storeu_si512(to + i / 2 * kFactors, RoundedInTurn(factor(begin + i), factor(begin + i + 1)));
  }

  // Turned, 16 channels of a pixel lie side by side for each output channel.
  BFLOAT16 void FillTurned(const float* line, const Phase& across, int64_t block, int64_t begin, Bfloat16* to) const {
    const auto where = [&](int64_t i) -> const float* {
      if (i >= Lines(across) * of_.from) return nullptr;
      return line + (across.kernel[i / of_.from] * of_.to + block * kRows) * of_.from + i % of_.from;
    };
    const float *first = where(begin), *second = where(begin + 16);
    alignas(64) float channels[kRows][16];
    for (int64_t k = 0; k < kRows; k++) {
      const __m512 high = second == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(second + k * of_.from);
      _mm512_storeu_si512(channels[k], Rounded(_mm512_loadu_ps(first + k * of_.from), high));
    }
    Transpose(channels[0], 16, reinterpret_cast<float(*)[16]>(to));
  }

  const Gathering& of_;
  std::vector<int64_t> begins_;
  std::optional<Factors> factors_;
};

// Given rows of 16 images, rounded, the last few of them: row by row [16, pixels from `left` before the first on, from].
class GivenRows {
 public:
  GivenRows(const Gathering& of, int64_t kept) : of_(of), kept_(kept) {
    int64_t end = of.width;
    for (const Phase& phase : of.columns) {
      const int64_t last = (phase.count - 1) * of.along + phase.first + static_cast<int64_t>(phase.kernel.size());
      left_ = std::max(left_, -phase.first);
      end = std::max(end, last);
    }
    // A register may be filled from behind the last pixel. An odd number of lines of the cache keeps images apart there.
    image_ = RoundUp((left_ + end) * of.from + kFactors, kFactors);
    if (image_ / kFactors % 2 == 0) image_ += kFactors;
    rows_.emplace(kept * Row());
  }

  int64_t Image() const { return image_; }

  // Of `count` images from `image` on.
  void Bring(const float* given, int64_t image, int64_t count, int64_t row) {
    const int64_t numbers = of_.width * of_.from, before = left_ * of_.from;
    for (int64_t i = 0; i < count; i++) {
      Bfloat16* to = Data(row) + i * image_;
      std::fill_n(to, before, Bfloat16{0});
      Round(given + ((image + i) * of_.height + row) * numbers, numbers, to + before);
      std::fill(to + before + numbers, to + image_, Bfloat16{0});
    }
  }

  const Bfloat16* At(int64_t row, int64_t column) const { return Data(row) + (left_ + column) * of_.from; }

 private:
  int64_t Row() const { return kRows * image_; }
  Bfloat16* Data(int64_t row) const { return rows_->Data() + row % kept_ * Row(); }

  const Gathering& of_;
  int64_t kept_, left_ = 0, image_ = 0;
  std::optional<Factors> rows_;
};

// What a result is a sum of, and where it goes: by line of the kernel where the pixels and the factors of the first 16 output
// channels begin, and how far it is from image to image, from pixel to pixel and to the next 16 channels.
struct Terms {
  const Bfloat16* pixels[16];
  const Bfloat16* factors[16];
  int64_t lines, fills, image, pixel, block;
  float* result;
  int64_t result_image, result_pixel;
};

// Results of 4 pixels and 16 channels, 2 and 32, 1 and 16, or 1 and 32.
template <int pixels, int blocks>
void Gather(const Terms& of) {
  static_assert(pixels * blocks <= 4);
  const int64_t image = of.image * sizeof(Bfloat16), next = of.result_image * sizeof(float);
  Each<pixels * blocks>([](auto sum) { Zero<sum>(); });
  for (int64_t line = 0; line < of.lines; line++) {
    const Bfloat16 *x = of.pixels[line], *w = of.factors[line];
    for (int64_t fill = 0; fill < of.fills; fill++, x += kFactors, w += kRegister) {
      Each<blocks>([&](auto block) { Load<6 + block>(w + block * of.block, 64); });
      Each<pixels>([&](auto pixel) {
        constexpr int at = 4 + pixel % 2;
        Load<at>(x + pixel * of.pixel, image);
        Each<blocks>([&](auto block) { MultiplyAdd<pixel * blocks + block, at, 6 + block>(); });
      });
    }
  }
  Each<pixels>([&](auto pixel) {
    Each<blocks>([&](auto block) {
      Store<pixel * blocks + block>(of.result + pixel * of.result_pixel + block * kRows, next);
    });
  });
}

// The results of a phase in one row of them, for as many output channels as Gather has.
template <int blocks>
void GatherRow(const Gathering& of, const Filter& filter, const GivenRows& rows, int64_t block, int64_t step, int64_t down,
               int64_t across, float* result) {
  const Phase &lines = of.rows[down], &columns = of.columns[across];
  const int64_t phase = down * of.columns.size() + across;
  Terms terms{};
  terms.fills = Fills(of, columns);
  terms.image = rows.Image();
  terms.pixel = of.along * of.from;
  terms.result_image = of.down * of.across * of.to;
  terms.result_pixel = of.apart * of.to;
  terms.result = result + ((step * of.apart + lines.at) * of.across + columns.at) * of.to + block * kRows;
  if (blocks == 2) terms.block = filter.Line(phase, block + 1, 0) - filter.Line(phase, block, 0);
  for (size_t line = 0; line < lines.kernel.size(); line++) {
    const int64_t row = of.along * step + lines.first + line;
    if (row < 0 || row >= of.height) continue;
    terms.pixels[terms.lines] = rows.At(row, columns.first);
    terms.factors[terms.lines++] = filter.Line(phase, block, line);
  }
  constexpr int64_t together = 4 / blocks;
  for (int64_t left = columns.count; left > 0;) {
    const int64_t pixels = left < together ? 1 : together;
    (pixels == 1 ? Gather<1, blocks> : Gather<together, blocks>)(terms);
    for (int64_t line = 0; line < terms.lines; line++) terms.pixels[line] += pixels * terms.pixel;
    terms.result += pixels * terms.result_pixel;
    left -= pixels;
  }
}

template <int blocks>
void GatherRows(const Gathering& of, const Filter& filter, const GivenRows& rows, int64_t begin, int64_t end, float* result) {
  for (int64_t block = 0; block < of.to / kRows; block += blocks) {
    for (int64_t step = begin; step < end; step++) {
      for (size_t down = 0; down < of.rows.size() && step < of.rows[down].count; down++) {
        for (size_t across = 0; across < of.columns.size(); across++)
          GatherRow<blocks>(of, filter, rows, block, step, down, across, result);
      }
    }
  }
}

void GatherAll(const Gathering& of, const float* given, const float* weights, float* result) {
  const Filter filter(of, weights);
  int64_t first = of.rows[0].first, last = first;
  for (const Phase& phase : of.rows) {
    first = std::min(first, phase.first);
    last = std::max(last, phase.first + static_cast<int64_t>(phase.kernel.size()));
  }
  // As many steps at a time as the rows that they need stay near, with the filter of some output channels.
  constexpr int64_t near = 384 << 10;
  const int64_t row = kRows * RoundUp((of.width + 2 * of.kernel) * of.from, kFactors), steps = of.rows[0].count,
                together = std::clamp<int64_t>((near / row - (last - first)) / of.along + 1, 1, steps),
                kept = std::max<int64_t>((together - 1) * of.along + last - first, 1);
  // Enough tasks for all threads.
  const int64_t groups = (of.n + kRows - 1) / kRows, bands = std::clamp<int64_t>(2 * Threads() / groups, 1, steps);
  Workers().Run(groups * bands, [&](int64_t i) {
    const int64_t image = i / bands * kRows, count = std::min(kRows, of.n - image), band = i % bands,
                  end = steps * (band + 1) / bands;
    float* results = result + image * of.down * of.across * of.to;
    const Registers registers(count);
    GivenRows rows(of, kept);
    int64_t next = 0;
    for (int64_t begin = steps * band / bands; begin < end; begin += together) {
      const int64_t until = std::min(begin + together, end), needed = std::min(of.along * (until - 1) + last, of.height);
      for (next = std::max(next, of.along * begin + first); next < needed; next++) rows.Bring(given, image, count, next);
      (of.to % (2 * kRows) == 0 ? GatherRows<2> : GatherRows<1>)(of, filter, rows, begin, until, results);
    }
  });
}

/* The gradient to the filter */

// Rows of pixels of 32 images as factors: for each pixel [channels / 16] registers, and zeros for channels that there are not.
// Turned, a register's rows are channels, and else pairs of images.
template <bool turned>
BFLOAT16 void BringRow(const float* images, int64_t count, int64_t image, int64_t pixels, int64_t channels, Bfloat16* to) {
  alignas(64) float pairs[kRows][16];
  for (int64_t pixel = 0; pixel < pixels; pixel++) {
    for (int64_t c = 0; c < channels; c += 16, to += kRegister) {
      const float* from = images + pixel * channels + c;
      for (int64_t pair = 0; pair < kRows; pair++) {
        const int64_t i = 2 * pair;
        const __m512 first = i < count ? Some(from + i * image, channels - c) : _mm512_setzero_ps(),
                     second = i + 1 < count ? Some(from + (i + 1) * image, channels - c) : _mm512_setzero_ps();
        _mm512_storeu_si512(turned ? static_cast<void*>(pairs[pair]) : to + pair * kFactors, RoundedInTurn(first, second));
      }
      if (turned) Transpose(pairs[0], 16, reinterpret_cast<float(*)[16]>(to));
    }
  }
}

// Sums of products, of `images` registers of the images by `gradients` of the gradient, over the pixels of a line.
struct Products {
  const Bfloat16* x[3];
  const Bfloat16* dy[2];
  float* sums[2][3];
  int64_t next_x, next_dy, pixels;
};

// Their registers are the first six.
template <int images, int gradients, typename Body>
void EachSum(Body body) {
  Each<gradients>([&](auto j) { Each<images>([&](auto i) { body(i, j); }); });
}

template <int images, int gradients>
void AddToSums(const Products& of) {
  Products at = of;
  for (int64_t pixel = 0; pixel < of.pixels; pixel++) {
    Each<gradients>([&](auto j) {
      Load<7>(at.dy[j], 64);
      at.dy[j] += of.next_dy;
      Each<images>([&](auto i) {
        Load<6>(at.x[i], 64);
        MultiplyAdd<3 * j + i, 6, 7>();
      });
    });
    Each<images>([&](auto i) { at.x[i] += of.next_x; });
  }
}

// Rows of images and of the gradient to the result that are at hand.
struct Band {
  const Bfloat16* x;
  const Bfloat16* dy;
  int64_t kept, begin, end;
};

// To the sums [kernel, kernel, channels, to], for some lines of the kernel and channels, what a band gives.
template <int images, int gradients>
void AddBand(const Convolution& of, const Band& band, int64_t line, int64_t which, int64_t block, bool first, float* sums) {
  const int64_t x_blocks = RoundUp(of.from, kRows) / kRows, dy_blocks = of.to / kRows,
                x_row = (of.width + 2 * of.padding) * x_blocks * kRegister, dy_row = of.Across() * dy_blocks * kRegister;
  Products products{};
  products.next_x = of.stride * x_blocks * kRegister;
  products.next_dy = dy_blocks * kRegister;
  products.pixels = of.Across();
  int64_t offsets[3] = {};
  for (int i = 0; i < images; i++) {
    const int64_t column = (which + i) % of.kernel, channels = (which + i) / of.kernel;
    offsets[i] = (column * x_blocks + channels) * kRegister;
    for (int j = 0; j < gradients; j++)
      products.sums[j][i] = sums + ((line * of.kernel + column) * x_blocks + channels) * kRows * of.to + (block + j) * kRows;
  }
  const int64_t next = of.to * sizeof(float);
  EachSum<images, gradients>([&](auto i, auto j) {
    if (first)
      Zero<3 * j + i>();
    else
      Load<3 * j + i>(products.sums[j][i], next);
  });
  for (int64_t step = band.begin; step < band.end; step++) {
    const int64_t row = step * of.stride - of.padding + line;
    if (row < 0 || row >= of.height) continue;
    for (int i = 0; i < images; i++) products.x[i] = band.x + row % band.kept * x_row + offsets[i];
    for (int j = 0; j < gradients; j++) products.dy[j] = band.dy + (step - band.begin) * dy_row + (block + j) * kRegister;
    AddToSums<images, gradients>(products);
  }
  EachSum<images, gradients>([&](auto i, auto j) { Store<3 * j + i>(products.sums[j][i], next); });
}

template <int gradients>
auto AddBandOf(int64_t images) {
  return images == 3 ? AddBand<3, gradients> : images == 2 ? AddBand<2, gradients> : AddBand<1, gradients>;
}

// What does parts of some work, part(0) to part(count - 1).
using Run = void (*)(int64_t count, const std::function<void(int64_t)>& part);

void Serially(int64_t count, const std::function<void(int64_t)>& part) {
  for (int64_t i = 0; i < count; i++) part(i);
}

void InParallel(int64_t count, const std::function<void(int64_t)>& part) { Workers().Run(count, part); }

// Sums [kernel, kernel, channels, to] over some images, the channels filled up by sixteens, from as many rows at a
// time as have `near` factors.
void SumImages(const Convolution& of, const float* x, const float* dy, int64_t first, int64_t last, int64_t near, Run run,
               float* sums) {
  const int64_t down = of.Down(), across = of.Across(), x_blocks = RoundUp(of.from, kRows) / kRows, dy_blocks = of.to / kRows,
                x_row = (of.width + 2 * of.padding) * x_blocks * kRegister, dy_row = across * dy_blocks * kRegister,
                outside = of.padding * x_blocks * kRegister;
  const int64_t together = std::clamp<int64_t>((near - of.kernel * x_row) / (of.stride * x_row + dy_row) + 1, 1, down),
                kept = (together - 1) * of.stride + of.kernel;
  const Factors x_rows(kept * x_row), dy_rows(together * dy_row);
  const int64_t all = of.kernel * x_blocks, images = all % 3 == 0 ? 3 : all % 2 == 0 ? 2 : 1,
                gradients = dy_blocks % 2 == 0 ? 2 : 1, parts = of.kernel * all / images;
  const auto add = gradients == 2 ? AddBandOf<2>(images) : AddBandOf<1>(images);
  const int64_t x_image = of.height * of.width * of.from, dy_image = down * across * of.to;
  for (int64_t image = first; image < last; image += kFactors) {
    const int64_t count = std::min(kFactors, last - image);
    for (int64_t begin = 0, next = 0; begin < down; begin += together) {
      const int64_t end = std::min(begin + together, down),
                    needed = std::min((end - 1) * of.stride - of.padding + of.kernel, of.height);
      next = std::min(std::max(next, begin * of.stride - of.padding), needed);
      run(needed - next + end - begin, [&](int64_t i) {
        if (i < needed - next) {
          Bfloat16* to = x_rows.Data() + (next + i) % kept * x_row;
          std::fill_n(to, outside, Bfloat16{0});
          BringRow<true>(x + image * x_image + (next + i) * of.width * of.from, count, x_image, of.width, of.from, to + outside);
          std::fill_n(to + x_row - outside, outside, Bfloat16{0});
        } else {
          const int64_t row = i - (needed - next);
          BringRow<false>(dy + image * dy_image + (begin + row) * across * of.to, count, dy_image, across, of.to,
                          dy_rows.Data() + row * dy_row);
        }
      });
      next = needed;
      run(parts * dy_blocks / gradients, [&](int64_t i) {
        const Registers registers(kRows);
        add(of, {x_rows.Data(), dy_rows.Data(), kept, begin, end}, i % of.kernel, i / of.kernel % (all / images) * images,
            i / parts * gradients, image == first && begin == 0, sums);
      });
    }
  }
}

// Groups of images have sums of their own where these are not large, so that a thread has its factors near.
void ConvolveToFilter(const Convolution& of, const float* x, const float* dy, float* filter) {
  const int64_t channels = RoundUp(of.from, kRows), kernels = of.kernel * of.kernel, each = kernels * channels * of.to,
                groups = (of.n + kFactors - 1) / kFactors, parts = std::clamp<int64_t>((512 << 10) / each, 1, groups);
  if (parts == 1 && channels == of.from) {
    SumImages(of, x, dy, 0, of.n, 1 << 20, InParallel, filter);
    return;
  }
  const Workspace sums(parts * each);
  const auto sum = [&](int64_t part, Run run) {
    const int64_t first = groups * part / parts * kFactors, last = std::min(groups * (part + 1) / parts * kFactors, of.n);
    SumImages(of, x, dy, first, last, 512 << 10, run, sums.Data() + part * each);
  };
  if (parts >= Threads())
    Workers().Run(parts, [&](int64_t part) { sum(part, Serially); });
  else
    for (int64_t part = 0; part < parts; part++) sum(part, InParallel);
  Workers().Run(kernels * channels / kRows, [&](int64_t i) {
    const int64_t k = i * kRows / channels, c = i * kRows % channels, count = std::min(kRows, of.from - c) * of.to;
    const float* from = sums.Data() + (k * channels + c) * of.to;
    float* to = filter + (k * of.from + c) * of.to;
    std::copy_n(from, count, to);
    for (int64_t part = 1; part < parts; part++) Add(from + part * each, count, to);
  });
}

void Convolve(const Convolution& of, const float* x, const float* filter, float* y) {
  GatherAll(ForwardsOf(of), x, filter, y);
}

void ConvolveToImages(const Convolution& of, const float* dy, const float* filter, float* dx) {
  GatherAll(BackwardsOf(of), dy, filter, dx);
}
#else
bool CanConvolve() { return false; }

void Convolve(const Convolution&, const float*, const float*, float*) {}

void ConvolveToImages(const Convolution&, const float*, const float*, float*) {}

void ConvolveToFilter(const Convolution&, const float*, const float*, float*) {}
#endif

void Check(const Convolution& of, Context& context) {
  context.Expect(of.kernel > 0 && of.kernel <= 16 && of.stride > 0 && of.padding >= 0 && of.padding < of.kernel,
                 "no kernel, stride and padding of a convolution");
  if (!context.Ok()) return;
  context.Expect(of.n > 0 && of.from > 0 && of.height > 0 && of.width > 0 && of.height + 2 * of.padding >= of.kernel &&
                     of.width + 2 * of.padding >= of.kernel,
                 "there are no images, or they are smaller than the kernel");
  context.Expect(of.to > 0 && of.to % 16 == 0, "the channels are no multiple of 16");
  context.Expect(CanConvolve(), "the processor has no AMX");
}

}  // namespace

// Images [n, h, w, from] and a filter [k, k, from, to] to [n, down, across, to].
void Bfloat16Conv(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *tf = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(tx) == 4 && TF_NumDims(tf) == 4 && TF_Dim(tf, 0) == TF_Dim(tf, 1), "no images, or no square filter");
  if (!context.Ok()) return;
  const Convolution of{TF_Dim(tx, 0), TF_Dim(tx, 1), TF_Dim(tx, 2), TF_Dim(tx, 3), TF_Dim(tf, 3), TF_Dim(tf, 0), with.stride,
                       with.padding};
  context.Expect(TF_Dim(tf, 2) == of.from, "the filter is for another number of channels");
  Check(of, context);
  if (!context.Ok()) return;
  float* y = context.Output(0, {of.n, of.Down(), of.Across(), of.to});
  if (!context.Ok()) return;
  Convolve(of, Data(tx), Data(tf), y);
}

// The gradient to the result, and the filter, to the gradient to images of so many rows and columns.
void Bfloat16ConvToImages(const Settings& with, Context& context) {
  TF_Tensor *td = context.InputTensor(0), *tf = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(td) == 4 && TF_NumDims(tf) == 4 && TF_Dim(tf, 0) == TF_Dim(tf, 1), "no images, or no square filter");
  if (!context.Ok()) return;
  const Convolution of{TF_Dim(td, 0), with.height, with.width, TF_Dim(tf, 2), TF_Dim(td, 3), TF_Dim(tf, 0), with.stride,
                       with.padding};
  context.Expect(TF_Dim(tf, 3) == of.to, "the filter is for another number of channels");
  Check(of, context);
  context.Expect(of.from % 16 == 0, "the channels are no multiple of 16");
  if (!context.Ok()) return;
  context.Expect(TF_Dim(td, 1) == of.Down() && TF_Dim(td, 2) == of.Across(), "the images are of another size");
  float* dx = context.Output(0, {of.n, of.height, of.width, of.from});
  if (!context.Ok()) return;
  ConvolveToImages(of, Data(td), Data(tf), dx);
}

// Images and the gradient to the result to the gradient to a filter [k, k, from, to].
void Bfloat16ConvToFilter(const Settings& with, Context& context) {
  TF_Tensor *tx = context.InputTensor(0), *td = context.InputTensor(1);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(tx) == 4 && TF_NumDims(td) == 4, "no images");
  if (!context.Ok()) return;
  const Convolution of{TF_Dim(tx, 0), TF_Dim(tx, 1), TF_Dim(tx, 2), TF_Dim(tx, 3), TF_Dim(td, 3), with.kernel, with.stride,
                       with.padding};
  Check(of, context);
  if (!context.Ok()) return;
  context.Expect(TF_Dim(td, 0) == of.n && TF_Dim(td, 1) == of.Down() && TF_Dim(td, 2) == of.Across(),
                 "the images are of another size");
  float* filter = context.Output(0, {of.kernel, of.kernel, of.from, of.to});
  if (!context.Ok()) return;
  ConvolveToFilter(of, Data(tx), Data(td), filter);
}

}  // namespace undistill
