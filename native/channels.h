// The gradient through a batch norm and its activation, whose sums are taken where what it is of has just been computed.

#ifndef UNDISTILL_CHANNELS_H_
#define UNDISTILL_CHANNELS_H_

#include <cstdint>
#include <vector>

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

  // Makes room for sums of so many parts.
  void Expect(int64_t parts) { sums_.assign(Any() ? 2 * parts * Width() : 0, 0.0f); }

  // Adds pixels of the gradient to what x was normalised to, from pixel `begin` on, to the sums of a part.
  void Add(int64_t part, const float* dy, int64_t begin, int64_t pixels);

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

}  // namespace undistill

#endif  // UNDISTILL_CHANNELS_H_
