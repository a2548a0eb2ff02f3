// What an operation is given by TensorFlow, and gives back.

#ifndef UNDISTILL_OPERATION_H_
#define UNDISTILL_OPERATION_H_

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <vector>

#include "tensorflow/c/kernels.h"
#include "tensorflow/c/tf_tensor.h"

namespace undistill {

// What an operation's attributes say.
struct Settings {
  float epsilon = 0, momentum = 0, decay = 0, mean_kept = 0, mean_taken = 0, square_kept = 0, square_taken = 0, within = 0;
  int64_t activation = 0, kernel = 0, stride = 1, groups = 1, padding = 0, height = 0, width = 0, count = 0;
  // Of what is done with the result of a convolution, and between two.
  float after_epsilon = 0, between_epsilon = 0;
  int64_t after_activation = 0, between_activation = 0;
  bool bfloat16 = false, moments = false, nesterov = false, transposed = false, upsampled = false;
};

constexpr float kNone = std::numeric_limits<float>::infinity();

// What follows a batch norm: nothing, ReLU or ReLU6, as bounds.
struct Activation {
  float lo = -kNone, hi = kNone;

  static Activation Of(int64_t number) {
    if (number == 1) return {0.0f, kNone};
    if (number == 2) return {0.0f, 6.0f};
    return {};
  }
  bool Bounds() const { return lo > -kNone || hi < kNone; }
};

// The numbers of a tensor, if there is one.
inline float* Data(TF_Tensor* tensor) {
  return tensor == nullptr ? nullptr : static_cast<float*>(TF_TensorData(tensor));
}

// Inputs and outputs of one call. A failure is TensorFlow's, and everything after it does nothing.
class Context {
 public:
  explicit Context(TF_OpKernelContext* context) : context_(context), status_(TF_NewStatus()) {}
  ~Context() {
    if (TF_GetCode(status_) != TF_OK) TF_OpKernelContext_Failure(context_, status_);
    for (TF_Tensor* tensor : tensors_) TF_DeleteTensor(tensor);
    TF_DeleteStatus(status_);
  }

  bool Ok() const { return TF_GetCode(status_) == TF_OK; }

  TF_Tensor* InputTensor(int i) {
    TF_Tensor* tensor = nullptr;
    TF_GetInput(context_, i, &tensor, status_);
    if (tensor != nullptr) tensors_.push_back(tensor);
    return tensor;
  }

  int Inputs() const { return TF_NumInputs(context_); }
  int Outputs() const { return TF_NumOutputs(context_); }

  const float* Input(int i) { return Data(InputTensor(i)); }

  // Of the shape of another tensor.
  float* OutputLike(int i, TF_Tensor* other) {
    if (!Ok()) return nullptr;
    return Allocate(i, Dimensions(other), TF_TensorElementCount(other));
  }

  float* OutputVector(int i, int64_t size) { return Output(i, {size}); }

  float* Output(int i, const std::vector<int64_t>& dimensions) {
    if (!Ok()) return nullptr;
    int64_t size = 1;
    for (const int64_t each : dimensions) size *= each;
    return Allocate(i, dimensions, size);
  }

  // In place of the given input where nobody else reads it.
  float* OutputInPlaceOf(int input, int i, TF_Tensor* other) {
    if (!Ok()) return nullptr;
    const auto dimensions = Dimensions(other);
    int forwarded = -1;
    TF_Tensor* tensor = TF_ForwardInputOrAllocateOutput(context_, &input, 1, i, dimensions.data(),
                                                        static_cast<int>(dimensions.size()), &forwarded, status_);
    if (tensor != nullptr) tensors_.push_back(tensor);
    return Ok() ? Data(tensor) : nullptr;
  }

  void Expect(bool holds, const char* what) {
    if (Ok() && !holds) TF_SetStatus(status_, TF_INVALID_ARGUMENT, what);
  }

 private:
  static std::vector<int64_t> Dimensions(TF_Tensor* tensor) {
    std::vector<int64_t> dimensions(TF_NumDims(tensor));
    for (size_t i = 0; i < dimensions.size(); i++) dimensions[i] = TF_Dim(tensor, static_cast<int>(i));
    return dimensions;
  }

  float* Allocate(int i, const std::vector<int64_t>& dimensions, int64_t elements) {
    TF_Tensor* tensor = TF_AllocateOutput(context_, i, TF_FLOAT, dimensions.data(),
                                          static_cast<int>(dimensions.size()), elements * sizeof(float), status_);
    if (tensor != nullptr) tensors_.push_back(tensor);
    return Ok() ? Data(tensor) : nullptr;
  }

  TF_OpKernelContext* context_;
  TF_Status* status_;
  std::vector<TF_Tensor*> tensors_;
};

// The number of channels of images [..., channels]. Fails where one of the other tensors has not one number for each channel.
inline int64_t ChannelsOf(Context& context, TF_Tensor* x, std::initializer_list<TF_Tensor*> by_channel) {
  if (!context.Ok()) return 0;
  const int rank = TF_NumDims(x);
  context.Expect(rank >= 1 && TF_TensorElementCount(x) > 0, "images without channels");
  if (!context.Ok()) return 0;
  const int64_t channels = TF_Dim(x, rank - 1);
  for (TF_Tensor* each : by_channel) context.Expect(TF_TensorElementCount(each) == channels, "not one number a channel");
  return context.Ok() ? channels : 0;
}

// The operations, which kernels.cc registers.
using Body = void(const Settings&, Context&);
Body BatchNorm, BatchNormGrad, BatchNormPool, BatchNormPoolGrad, MaxPool, MaxPoolGrad, RunningStatistics, Statistics, Normalisation, NormalisationGrad, NormalisePool,
    Bias, BiasGrad, ChannelSums, Sum, Conv3x3, Conv3x3Twice,
    Conv3x3ToImages, Conv3x3ToFilter, Bfloat16Conv, Bfloat16ConvToImages, Bfloat16ConvToFilter, Conv, ConvToImages, ConvToFilter, Depthwise, DepthwiseToImages, DepthwiseToFilter, Interleave,
    EveryOther, Shuffle, Unshuffle,
    Gelu, GeluGrad, MeanOfNearest, Momentum, Adam;

}  // namespace undistill

#endif  // UNDISTILL_OPERATION_H_
