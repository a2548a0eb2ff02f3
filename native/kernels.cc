// Operations on a processor that go through memory once where TensorFlow's own go through it several times, and with fewer
// products. They are registered with TensorFlow's C interface under names that begin with Undistill. Tensors are float32, the
// channels last. Each result depends on the inputs alone, not on the number of threads: sums are taken block by block, and
// those of the blocks in order.

#include <node_api.h>

#include <mutex>
#include <string>
#include <vector>

#include "operation.h"
#include "signals.h"
#include "tensorflow/c/ops.h"
#include "workers.h"

namespace undistill {
namespace {

struct Operation {
  const char* name;
  std::vector<const char*> inputs;
  std::vector<const char*> outputs;
  std::vector<const char*> attributes;
  void (*shapes)(TF_ShapeInferenceContext*, TF_Status*);
  void (*compute)(void*, TF_OpKernelContext*);
};

template <void (*body)(const Settings&, Context&)>
void Compute(void* settings, TF_OpKernelContext* context) {
  Context wrapped(context);
  body(*static_cast<Settings*>(settings), wrapped);
}

// Of each output, by the input that has the same.
template <int... inputs>
void ShapesOf(TF_ShapeInferenceContext* context, TF_Status* status) {
  int output = 0;
  for (int input : {inputs...}) {
    TF_ShapeHandle* shape = TF_NewShapeHandle();
    TF_ShapeInferenceContextGetInput(context, input, shape, status);
    if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextSetOutput(context, output++, shape, status);
    TF_DeleteShapeHandle(shape);
  }
}

void UnknownShape(TF_ShapeInferenceContext* context, TF_Status* status) {
  TF_ShapeInferenceContextSetUnknownShape(context, status);
}

// Absent attributes leave their defaults.
void* ReadSettings(TF_OpKernelConstruction* construction) {
  auto* settings = new Settings;
  TF_Status* status = TF_NewStatus();
  const auto has = [&](const char* name) { return TF_OpKernelConstruction_HasAttr(construction, name, status); };
  const auto number = [&](const char* name, float* value) {
    if (has(name)) TF_OpKernelConstruction_GetAttrFloat(construction, name, value, status);
  };
  const auto flag = [&](const char* name, bool* value) {
    TF_Bool read = 0;
    if (has(name)) TF_OpKernelConstruction_GetAttrBool(construction, name, &read, status);
    *value = read != 0;
  };
  number("epsilon", &settings->epsilon);
  number("after_epsilon", &settings->after_epsilon);
  number("between_epsilon", &settings->between_epsilon);
  number("momentum", &settings->momentum);
  number("decay", &settings->decay);
  number("mean_kept", &settings->mean_kept);
  number("mean_taken", &settings->mean_taken);
  number("square_kept", &settings->square_kept);
  number("square_taken", &settings->square_taken);
  number("within", &settings->within);
  flag("moments", &settings->moments);
  flag("to_bfloat16", &settings->bfloat16);
  flag("nesterov", &settings->nesterov);
  flag("transposed", &settings->transposed);
  flag("upsampled", &settings->upsampled);
  const auto count = [&](const char* name, int64_t* value) {
    if (has(name)) TF_OpKernelConstruction_GetAttrInt64(construction, name, value, status);
  };
  count("activation", &settings->activation);
  count("after_activation", &settings->after_activation);
  count("between_activation", &settings->between_activation);
  count("kernel", &settings->kernel);
  count("stride", &settings->stride);
  count("groups", &settings->groups);
  count("padding", &settings->padding);
  count("height", &settings->height);
  count("width", &settings->width);
  count("count", &settings->count);
  if (TF_GetCode(status) != TF_OK) TF_OpKernelConstruction_Failure(construction, status);
  TF_DeleteStatus(status);
  return settings;
}

void DropSettings(void* settings) { delete static_cast<Settings*>(settings); }

// A convolution, with the batch norm before it and what is done with its result, where nothing is differentiated. What is not wanted
// has no number.
const std::vector<const char*> kFinished = {"x",          "filter",       "scale",      "offset",         "mean", "variance",
                                            "after_scale", "after_offset", "after_mean", "after_variance", "plus"};
// Two of them one after the other.
const std::vector<const char*> kFinishedTwice = {
    "x",           "filter",       "scale",      "offset",         "mean", "variance", "between_scale", "between_offset", "between_mean", "between_variance",
    "second",      "after_scale",  "after_offset", "after_mean", "after_variance", "plus"};
#define FINISHED "epsilon: float", "activation: int", "after_epsilon: float", "after_activation: int"

const std::vector<Operation>& Operations() {
  static const std::vector<Operation> operations = {
      {"UndistillBatchNorm",
       {"x", "scale", "offset", "mean", "variance"},
       {"y", "new_mean", "new_variance", "batch_mean", "inverse_deviation"},
       {"epsilon: float", "momentum: float", "activation: int"},
       ShapesOf<0, 1, 1, 1, 1>,
       Compute<BatchNorm>},
      {"UndistillBatchNormGrad",
       {"dy", "x", "scale", "offset", "batch_mean", "inverse_deviation"},
       {"dx", "to_scale", "to_offset"},
       {"activation: int"},
       ShapesOf<1, 2, 2>,
       Compute<BatchNormGrad>},
      {"UndistillBatchNormPool",
       {"x", "scale", "offset", "mean", "variance"},
       {"y", "new_mean", "new_variance", "batch_mean", "inverse_deviation"},
       {"epsilon: float", "momentum: float", "activation: int"},
       UnknownShape,
       Compute<BatchNormPool>},
      {"UndistillBatchNormPoolGrad",
       {"dy", "x", "scale", "offset", "batch_mean", "inverse_deviation"},
       {"dx", "to_scale", "to_offset"},
       {"activation: int"},
       ShapesOf<1, 2, 2>,
       Compute<BatchNormPoolGrad>},
      {"UndistillMaxPool", {"x"}, {"y"}, {"activation: int"}, UnknownShape, Compute<MaxPool>},
      {"UndistillMaxPoolGrad", {"dy", "x"}, {"dx"}, {"activation: int"}, ShapesOf<1>, Compute<MaxPoolGrad>},
      {"UndistillStatistics",
       {"x", "mean", "variance"},
       {"batch_mean", "batch_variance", "inverse_deviation", "new_mean", "new_variance"},
       {"epsilon: float", "momentum: float"},
       ShapesOf<1, 1, 1, 1, 1>,
       Compute<Statistics>},
      {"UndistillRunningStatistics",
       {"batch_mean", "batch_variance", "mean", "variance"},
       {"inverse_deviation", "new_mean", "new_variance"},
       {"epsilon: float", "momentum: float", "count: int"},
       ShapesOf<0, 0, 0>,
       Compute<RunningStatistics>},
      {"UndistillNormalise",
       {"x", "scale", "offset", "mean", "variance"},
       {"y", "batch_mean", "batch_variance"},
       {"epsilon: float", "activation: int", "moments: bool"},
       ShapesOf<0, 1, 1>,
       Compute<Normalisation>},
      {"UndistillNormalisePool",
       {"x", "bias", "scale", "offset", "mean", "variance"},
       {"y"},
       {"epsilon: float", "activation: int"},
       UnknownShape,
       Compute<NormalisePool>},
      {"UndistillNormaliseGrad",
       {"dy", "x", "scale", "offset", "mean", "variance", "batch_mean", "to_mean", "to_variance"},
       {"dx"},
       {"epsilon: float", "activation: int", "moments: bool"},
       ShapesOf<1>,
       Compute<NormalisationGrad>},
      {"UndistillBias", {"x", "bias"}, {"y"}, {"activation: int"}, ShapesOf<0>, Compute<Bias>},
      {"UndistillChannelSums", {"x"}, {"sum"}, {}, UnknownShape, Compute<ChannelSums>},
      {"UndistillBiasGrad", {"dy", "y"}, {"dx", "to_bias"}, {"activation: int"}, UnknownShape, Compute<BiasGrad>},
      {"UndistillSum", {"a", "b"}, {"y"}, {"activation: int"}, ShapesOf<0>, Compute<Sum>},
      {"UndistillConv3x3",
       {"x", "filter"},
       {"y"},
       {"to_bfloat16: bool", "transposed: bool", "upsampled: bool", "groups: int"},
       UnknownShape,
       Compute<Conv3x3>},
      {"UndistillConv3x3Moments",
       {"x", "filter"},
       {"y", "batch_mean", "batch_variance"},
       {"to_bfloat16: bool", "transposed: bool", "upsampled: bool", "groups: int"},
       UnknownShape,
       Compute<Conv3x3>},
      {"UndistillConv3x3ToFilter",
       {"x", "dy"},
       {"filter"},
       {"to_bfloat16: bool", "upsampled: bool", "groups: int"},
       UnknownShape,
       Compute<Conv3x3ToFilter>},
      {"UndistillBfloat16Conv",
       {"x", "filter"},
       {"y"},
       {"stride: int", "padding: int"},
       UnknownShape,
       Compute<Bfloat16Conv>},
      {"UndistillBfloat16ConvToImages",
       {"dy", "filter"},
       {"dx"},
       {"stride: int", "padding: int", "height: int", "width: int"},
       UnknownShape,
       Compute<Bfloat16ConvToImages>},
      {"UndistillBfloat16ConvToFilter",
       {"x", "dy"},
       {"filter"},
       {"kernel: int", "stride: int", "padding: int"},
       UnknownShape,
       Compute<Bfloat16ConvToFilter>},
      {"UndistillConv",
       {"x", "filter"},
       {"y"},
       {"stride: int", "padding: int", "groups: int"},
       UnknownShape,
       Compute<Conv>},
      {"UndistillConvMoments",
       {"x", "filter"},
       {"y", "batch_mean", "batch_variance"},
       {"stride: int", "padding: int", "groups: int"},
       UnknownShape,
       Compute<Conv>},
      {"UndistillConvToImages",
       {"dy", "filter"},
       {"dx"},
       {"stride: int", "padding: int", "height: int", "width: int", "groups: int"},
       UnknownShape,
       Compute<ConvToImages>},
      {"UndistillConvToFilter",
       {"x", "dy"},
       {"filter"},
       {"kernel: int", "stride: int", "padding: int", "groups: int"},
       UnknownShape,
       Compute<ConvToFilter>},
      {"UndistillDepthwise",
       {"x", "filter"},
       {"y"},
       {"stride: int", "padding: int"},
       UnknownShape,
       Compute<Depthwise>},
      {"UndistillDepthwiseMoments",
       {"x", "filter"},
       {"y", "batch_mean", "batch_variance"},
       {"stride: int", "padding: int"},
       UnknownShape,
       Compute<Depthwise>},
      {"UndistillDepthwiseToImages",
       {"dy", "filter"},
       {"dx"},
       {"stride: int", "padding: int", "height: int", "width: int"},
       UnknownShape,
       Compute<DepthwiseToImages>},
      {"UndistillDepthwiseToFilter",
       {"x", "dy"},
       {"filter"},
       {"stride: int", "padding: int"},
       UnknownShape,
       Compute<DepthwiseToFilter>},
      {"UndistillNormalisedConv3x3",
       {"x", "filter", "scale", "offset", "mean", "variance"},
       {"y"},
       {"to_bfloat16: bool", "transposed: bool", "upsampled: bool", "groups: int", "epsilon: float", "activation: int"},
       UnknownShape,
       Compute<Conv3x3>},
      {"UndistillNormalisedConv3x3Moments",
       {"x", "filter", "scale", "offset", "mean", "variance"},
       {"y", "batch_mean", "batch_variance"},
       {"to_bfloat16: bool", "transposed: bool", "upsampled: bool", "groups: int", "epsilon: float", "activation: int"},
       UnknownShape,
       Compute<Conv3x3>},
      {"UndistillNormalisedConv3x3ToFilter",
       {"x", "dy", "scale", "offset", "mean", "variance"},
       {"filter"},
       {"to_bfloat16: bool", "upsampled: bool", "groups: int", "epsilon: float", "activation: int"},
       UnknownShape,
       Compute<Conv3x3ToFilter>},
      {"UndistillNormalisedConv",
       {"x", "filter", "scale", "offset", "mean", "variance"},
       {"y"},
       {"stride: int", "padding: int", "groups: int", "epsilon: float", "activation: int"},
       UnknownShape,
       Compute<Conv>},
      {"UndistillNormalisedConvMoments",
       {"x", "filter", "scale", "offset", "mean", "variance"},
       {"y", "batch_mean", "batch_variance"},
       {"stride: int", "padding: int", "groups: int", "epsilon: float", "activation: int"},
       UnknownShape,
       Compute<Conv>},
      {"UndistillNormalisedConvToFilter",
       {"x", "dy", "scale", "offset", "mean", "variance"},
       {"filter"},
       {"kernel: int", "stride: int", "padding: int", "groups: int", "epsilon: float", "activation: int"},
       UnknownShape,
       Compute<ConvToFilter>},
      {"UndistillNormalisedDepthwise",
       {"x", "filter", "scale", "offset", "mean", "variance"},
       {"y"},
       {"stride: int", "padding: int", "epsilon: float", "activation: int"},
       UnknownShape,
       Compute<Depthwise>},
      {"UndistillNormalisedDepthwiseMoments",
       {"x", "filter", "scale", "offset", "mean", "variance"},
       {"y", "batch_mean", "batch_variance"},
       {"stride: int", "padding: int", "epsilon: float", "activation: int"},
       UnknownShape,
       Compute<Depthwise>},
      {"UndistillNormalisedConv3x3ToImages",
       {"dy", "filter", "x", "scale", "offset", "mean", "inverse_deviation"},
       {"dx", "to_scale", "to_offset"},
       {"groups: int", "activation: int"},
       UnknownShape,
       Compute<Conv3x3ToImages>},
      {"UndistillNormalisedConvToImages",
       {"dy", "filter", "x", "scale", "offset", "mean", "inverse_deviation"},
       {"dx", "to_scale", "to_offset"},
       {"stride: int", "padding: int", "height: int", "width: int", "groups: int", "activation: int"},
       UnknownShape,
       Compute<ConvToImages>},
      {"UndistillNormalisedDepthwiseToBoth",
       {"dy", "filter", "x", "scale", "offset", "mean", "inverse_deviation"},
       {"dx", "to_scale", "to_offset", "to_filter"},
       {"stride: int", "padding: int", "height: int", "width: int", "activation: int"},
       UnknownShape,
       Compute<DepthwiseToImages>},
      {"UndistillFinishedConv3x3", kFinished, {"y"}, {"groups: int", FINISHED}, UnknownShape, Compute<Conv3x3>},
      {"UndistillFinishedConv3x3Twice",
       kFinishedTwice,
       {"y"},
       {"between_epsilon: float", "between_activation: int", FINISHED},
       UnknownShape,
       Compute<Conv3x3Twice>},
      {"UndistillFinishedConv",
       kFinished,
       {"y"},
       {"stride: int", "padding: int", "groups: int", FINISHED},
       UnknownShape,
       Compute<Conv>},
      {"UndistillFinishedDepthwise",
       kFinished,
       {"y"},
       {"stride: int", "padding: int", FINISHED},
       UnknownShape,
       Compute<Depthwise>},
      {"UndistillInterleave", {"a", "b"}, {"y"}, {}, UnknownShape, Compute<Interleave>},
      {"UndistillEveryOther", {"y"}, {"a", "b"}, {}, UnknownShape, Compute<EveryOther>},
      {"UndistillShuffle", {"a", "b"}, {"first", "last"}, {}, ShapesOf<0, 0>, Compute<Shuffle>},
      {"UndistillUnshuffle", {"first", "last"}, {"a", "b"}, {}, ShapesOf<0, 0>, Compute<Unshuffle>},
      {"UndistillGelu", {"x"}, {"y"}, {}, ShapesOf<0>, Compute<Gelu>},
      {"UndistillGeluGrad", {"dy", "x"}, {"dx"}, {}, ShapesOf<1>, Compute<GeluGrad>},
      {"UndistillMeanOfNearest",
       {"rows", "own_group", "keys", "groups", "values"},
       {"mean"},
       {"within: float"},
       UnknownShape,
       Compute<MeanOfNearest>},
      {"UndistillMomentum",
       {"parameter", "gradient", "velocity", "rate"},
       {"new_parameter", "new_velocity"},
       {"momentum: float", "decay: float", "nesterov: bool"},
       ShapesOf<0, 0>,
       Compute<Momentum>},
      {"UndistillAdam",
       {"parameter", "gradient", "mean", "square", "rate", "scale", "floor"},
       {"new_parameter", "new_mean", "new_square"},
       {"decay: float", "mean_kept: float", "mean_taken: float", "square_kept: float", "square_taken: float"},
       ShapesOf<0, 0, 0>,
       Compute<Adam>},
  };
  return operations;
}

void Register(const Operation& operation, TF_Status* status) {
  TF_OpDefinitionBuilder* definition = TF_NewOpDefinitionBuilder(operation.name);
  const auto typed = [](const char* name) { return std::string(name) + ": float"; };
  for (const char* input : operation.inputs) TF_OpDefinitionBuilderAddInput(definition, typed(input).c_str());
  for (const char* output : operation.outputs) TF_OpDefinitionBuilderAddOutput(definition, typed(output).c_str());
  for (const char* attribute : operation.attributes) TF_OpDefinitionBuilderAddAttr(definition, attribute);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(definition, operation.shapes);
  TF_RegisterOpDefinition(definition, status);
  if (TF_GetCode(status) != TF_OK) return;
  TF_KernelBuilder* kernel =
      TF_NewKernelBuilder(operation.name, "CPU", ReadSettings, operation.compute, DropSettings);
  TF_RegisterKernelBuilder(operation.name, kernel, status);
}

// useThreads(count): so many threads share an operation, from the next one on.
napi_value UseThreads(napi_env env, napi_callback_info info) {
  size_t given = 1;
  napi_value argument;
  int32_t count = 0;
  if (napi_get_cb_info(env, info, &given, &argument, nullptr, nullptr) != napi_ok || given != 1 ||
      napi_get_value_int32(env, argument, &count) != napi_ok || count < 1 || count > kMostThreads)
    napi_throw_range_error(env, nullptr, "threads: a whole number from 1 to 512");
  else
    Threads() = count;
  return nullptr;
}

napi_value Init(napi_env env, napi_value exports) {
  static std::once_flag once;
  static std::string failure;
  std::call_once(once, [] {
    AnswerSignalsElsewhere();
    TF_Status* status = TF_NewStatus();
    for (const auto& operation : Operations()) {
      if (TF_GetCode(status) == TF_OK) Register(operation, status);
    }
    if (TF_GetCode(status) != TF_OK) failure = TF_Message(status);
    TF_DeleteStatus(status);
  });
  if (!failure.empty()) napi_throw_error(env, nullptr, failure.c_str());
  napi_value use_threads;
  if (napi_create_function(env, "useThreads", NAPI_AUTO_LENGTH, UseThreads, nullptr, &use_threads) == napi_ok)
    napi_set_named_property(env, exports, "useThreads", use_threads);
  return exports;
}

}  // namespace
}  // namespace undistill

NAPI_MODULE(kernels, undistill::Init)
