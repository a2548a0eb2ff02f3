// Images that are normalised, and pass an activation, on their way into a convolution: they are nowhere in memory.

#ifndef UNDISTILL_NORMALISED_H_
#define UNDISTILL_NORMALISED_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "operation.h"
#include "workers.h"

namespace undistill {

// By channel, and the bounds of what comes out: (x - mean) slope + offset, but at least lo and at most hi. With zeros behind the
// last channel, so that a vector may be read from any.
class Normal {
 public:
  // Images as they are.
  Normal() = default;

  Normal(const float* mean, const float* slope, const float* offset, int64_t channels, Activation bounds)
      : mean_(mean, mean + channels), slope_(slope, slope + channels), offset_(offset, offset + channels), bounds_(bounds) {
    for (auto* each : {&mean_, &slope_, &offset_}) each->resize(channels + 16, 0.0f);
  }

  // Of the inputs scale, offset, mean and variance from `first` on, if an operation has them.
  static Normal Of(const Settings& with, Context& context, int first, int64_t channels) {
    Normal normal;
    if (!context.Ok() || context.Inputs() <= first) return normal;
    return Of(context, first, channels, with.epsilon, Activation::Of(with.activation));
  }

  // The same of inputs that may be there for nothing, without a number.
  static Normal Of(Context& context, int first, int64_t channels, float epsilon, Activation bounds) {
    Normal normal;
    TF_Tensor* given[4];
    for (int i = 0; i < 4; i++) {
      given[i] = context.InputTensor(first + i);
      if (!context.Ok()) return normal;
      if (TF_TensorElementCount(given[0]) == 0) return normal;
      context.Expect(TF_TensorElementCount(given[i]) == channels, "not one number a channel");
      if (!context.Ok()) return normal;
    }
    const float *scale = Data(given[0]), *offset = Data(given[1]), *mean = Data(given[2]), *variance = Data(given[3]);
    for (auto* each : {&normal.mean_, &normal.slope_, &normal.offset_}) each->assign(channels + 16, 0.0f);
    for (int64_t c = 0; c < channels; c++) {
      normal.mean_[c] = mean[c];
      normal.slope_[c] = scale[c] * (1.0f / std::sqrt(variance[c] + epsilon));
      normal.offset_[c] = offset[c];
    }
    normal.bounds_ = bounds;
    return normal;
  }

  bool Any() const { return !mean_.empty(); }

  // The same of the channels from one on.
  Normal From(int64_t channel) const {
    Normal normal = *this;
    for (auto* each : {&normal.mean_, &normal.slope_, &normal.offset_}) each->erase(each->begin(), each->begin() + channel);
    return normal;
  }

  const float* Mean() const { return mean_.data(); }
  const float* Slope() const { return slope_.data(); }
  const float* Offset() const { return offset_.data(); }
  float Least() const { return bounds_.lo; }
  float Most() const { return bounds_.hi; }

 private:
  std::vector<float> mean_, slope_, offset_;
  Activation bounds_;
};

// What is done with the pixels of a result before they leave the cache: they are normalised, images of the same form are added, and an
// activation bounds them.
class Finish {
 public:
  // Nothing.
  Finish() = default;

  explicit Finish(const Normal& after) : after_(after) {}

  // Of the inputs scale, offset, mean, variance and what is added from `first` on, if an operation has them; each may have no number.
  static Finish Of(const Settings& with, Context& context, int first, int64_t channels, int64_t numbers) {
    Finish finish;
    if (!context.Ok() || context.Inputs() <= first) return finish;
    const auto bounds = Activation::Of(with.after_activation);
    finish.after_ = Normal::Of(context, first, channels, with.after_epsilon, bounds);
    // Looking for a further input would forget that something was wrong.
    if (!context.Ok()) return finish;
    TF_Tensor* plus = context.InputTensor(first + 4);
    if (!context.Ok()) return finish;
    if (!finish.after_.Any()) {
      const std::vector<float> zeros(channels, 0.0f), ones(channels, 1.0f);
      finish.after_ = Normal(zeros.data(), ones.data(), zeros.data(), channels, bounds);
    }
    if (TF_TensorElementCount(plus) == 0) return finish;
    context.Expect(TF_TensorElementCount(plus) == numbers, "images of another size are added");
    finish.plus_ = Data(plus);
    return finish;
  }

  bool Any() const { return after_.Any(); }
  const Normal& After() const { return after_; }
  const float* Plus() const { return plus_; }

  // Does it to some pixels, beside each other, of all channels, from number `at` of the result on.
  void Apply(float* y, int64_t at, int64_t pixels, int64_t channels) const;

 private:
  Normal after_;
  const float* plus_ = nullptr;
};

}  // namespace undistill

#endif  // UNDISTILL_NORMALISED_H_
