// Sums by channel for batch norms, taken where what they are of has just been computed.

#ifndef UNDISTILL_CHANNELS_H_
#define UNDISTILL_CHANNELS_H_

#include <cstdint>
#include <vector>

#include "normalised.h"
#include "operation.h"

namespace undistill {

// To be used in this order: Read, Expect, Add for all pixels, Finish.
class NormGradient {
 public:
  // None.
  NormGradient() = default;

  // Of the inputs x, scale, offset, mean and 1 / deviation of x from `first` on, if an operation has them: x [..., channels].
  static NormGradient Of(const Settings& with, Context& context, int first, int64_t pixels, int64_t channels);

  bool Any() const { return x_ != nullptr; }
  int64_t Channels() const { return channels_; }
  const float* Images() const { return x_; }

  // To what x was normalised.
  Normal Forwards() const { return {mean_.data(), slope_.data(), offset_.data(), channels_, bounds_}; }

  // Makes room for sums of so many parts.
  void Expect(int64_t parts) { sums_.assign(Any() ? 2 * parts * Width() : 0, 0.0f); }

  // Adds pixels of the gradient to what x was normalised to, from pixel `begin` on, to the sums of a part.
  void Add(int64_t part, const float* dy, int64_t begin, int64_t pixels);

  // For who adds to a part by himself: the sums [2][channels] of g, and of g (x - mean), where g is the gradient within bounds.
  float* Part(int64_t part) { return sums_.data() + 2 * part * Width(); }
  // How far the two are apart.
  int64_t Apart() const { return Width(); }

  // From that gradient, all of whose pixels were added, to the gradient to x in its place and those to scale and offset.
  void Finish(float* dx, float* to_scale, float* to_offset) const;

 private:
  // Some pixels make a row that is wide enough for vectors.
  int64_t Width() const { return fold_ * channels_; }

  const float* x_ = nullptr;
  int64_t pixels_ = 0, channels_ = 0, fold_ = 1;
  Activation bounds_;
  // As often as a row holds the channels.
  std::vector<float> mean_, slope_, offset_, inverse_, sums_;
};

// Mean and biased variance by channel of the images that an operation gives, where it has outputs for them. To be used in this order:
// Of, Expect, what adds all pixels, Finish. The parts have their own sums, of what was shifted by the part's first pixel.
class ImageMoments {
 public:
  // None.
  ImageMoments() = default;

  // As the outputs from `first` on, if an operation has them.
  static ImageMoments Of(Context& context, int first, int64_t channels);

  bool Any() const { return mean_ != nullptr; }

  // Makes room for so many parts.
  void Expect(int64_t parts);

  // Adds pixels of all channels that lie one after the other to a part.
  void Add(int64_t part, const float* y, int64_t pixels);

  // For who adds to a part by himself: [shift, sums, sums of squares][channels], of so many pixels.
  float* Part(int64_t part, int64_t pixels) {
    counts_[part] = pixels;
    return sums_.data() + part * 3 * Width();
  }
  // How far the three are apart.
  int64_t Width() const { return fold_ * channels_; }

  void Finish() const;

 private:
  float *mean_ = nullptr, *variance_ = nullptr;
  // Some pixels make a row that is wide enough for vectors; those of a part that make none are added to its first channels.
  int64_t channels_ = 0, fold_ = 1;
  std::vector<float> sums_;
  std::vector<int64_t> counts_;
};

}  // namespace undistill

#endif  // UNDISTILL_CHANNELS_H_
