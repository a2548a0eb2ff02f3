// Operations on each number by itself: sums of tensors with the activation that follows, and an optimiser's step.

#include <cmath>
#include <cstdint>

#include "operation.h"
#include "workers.h"

namespace undistill {
namespace {

// y = a + b, but at least lo and at most hi.
FOR_EACH_PROCESSOR void AddBounded(const float* a, const float* b, int64_t n, float lo, float hi, float* y) {
  // The result may be in the place of a term.
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) {
    float z = a[i] + b[i];
    z = z < lo ? lo : z;
    y[i] = z > hi ? hi : z;
  }
}

// d = g + decay p, v' = momentum v + d, p' = p - rate v', or with Nesterov p - rate (d + momentum v').
FOR_EACH_PROCESSOR void Descend(const float* __restrict p, const float* __restrict g, const float* __restrict v,
                                int64_t n, float rate, float momentum, float decay, bool nesterov,
                                float* __restrict new_p, float* __restrict new_v) {
  for (int64_t i = 0; i < n; i++) {
    const float d = g[i] + decay * p[i];
    const float velocity = momentum * v[i] + d;
    new_v[i] = velocity;
    new_p[i] = p[i] - rate * (nesterov ? d + momentum * velocity : velocity);
  }
}

// d = g + decay p, m' and v' what is kept of m and v with what is taken of d and d², p' = p - rate scale m' / (√v' + floor).
FOR_EACH_PROCESSOR void DescendByAdam(const float* __restrict p, const float* __restrict g, const float* __restrict m,
                                      const float* __restrict v, int64_t n, const Settings& with, float rate, float scale,
                                      float floor, float* __restrict new_p, float* __restrict new_m,
                                      float* __restrict new_v) {
  const float decay = with.decay, mean_kept = with.mean_kept, mean_taken = with.mean_taken,
              square_kept = with.square_kept, square_taken = with.square_taken;
  for (int64_t i = 0; i < n; i++) {
    const float d = g[i] + decay * p[i];
    const float mean = mean_kept * m[i] + mean_taken * d;
    const float square = square_kept * v[i] + square_taken * (d * d);
    new_m[i] = mean;
    new_v[i] = square;
    new_p[i] = p[i] - rate * (mean * scale / (__builtin_sqrtf(square) + floor));
  }
}

// e to the power of x <= 0, to a few units in the last place of 1; the least number that is normal, where that is larger.
__attribute__((always_inline)) inline float Exponential(float x) {
  const float t = x * 1.44269504f, least = -126.0f, bounded = t < least ? least : t;
  const int32_t whole = static_cast<int32_t>(bounded - 0.5f);
  const float f = (bounded - static_cast<float>(whole)) * 0.69314718f;
  // Taylor's series: |f| is at most half the logarithm of 2.
  const float part = 1.0f + f * (1.0f + f * (1.0f / 2 + f * (1.0f / 6 + f * (1.0f / 24 + f * (1.0f / 120 + f * (1.0f / 720))))));
  const float power = __builtin_bit_cast(float, (whole + 127) << 23);
  return part * power;
}

// The standard normal distribution function of x, where e^(-x²/2) is known: Abramowitz and Stegun 7.1.26, to 10^-7.
__attribute__((always_inline)) inline float NormalBelow(float x, float density) {
  const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * __builtin_fabsf(x));
  const float above = 0.5f * density *
      (t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f)))));
  return x < 0 ? above : 1.0f - above;
}

FOR_EACH_PROCESSOR void GeluOf(const float* __restrict x, int64_t n, float* __restrict y) {
  for (int64_t i = 0; i < n; i++) y[i] = x[i] * NormalBelow(x[i], Exponential(-0.5f * x[i] * x[i]));
}

FOR_EACH_PROCESSOR void GeluBack(const float* __restrict dy, const float* __restrict x, int64_t n, float* __restrict dx) {
  for (int64_t i = 0; i < n; i++) {
    const float density = Exponential(-0.5f * x[i] * x[i]);
    dx[i] = dy[i] * (NormalBelow(x[i], density) + x[i] * density * 0.39894228f);
  }
}

}  // namespace

// x to x times the standard normal distribution function of x.
void Gelu(const Settings&, Context& context) {
  TF_Tensor* tx = context.InputTensor(0);
  if (!context.Ok()) return;
  float* y = context.OutputLike(0, tx);
  if (!context.Ok()) return;
  const float* x = Data(tx);
  ForEachBlock(TF_TensorElementCount(tx), [&](int64_t begin, int64_t count) { GeluOf(x + begin, count, y + begin); });
}

// The gradient to that, and x, to the gradient to x.
void GeluGrad(const Settings&, Context& context) {
  TF_Tensor *td = context.InputTensor(0), *tx = context.InputTensor(1);
  if (!context.Ok()) return;
  const int64_t n = TF_TensorElementCount(tx);
  context.Expect(TF_TensorElementCount(td) == n, "the gradient is of another size");
  float* dx = context.OutputLike(0, tx);
  if (!context.Ok()) return;
  const float *dy = Data(td), *x = Data(tx);
  ForEachBlock(n, [&](int64_t begin, int64_t count) { GeluBack(dy + begin, x + begin, count, dx + begin); });
}

// Two tensors of one shape to their sum.
void Sum(const Settings& with, Context& context) {
  TF_Tensor *ta = context.InputTensor(0), *tb = context.InputTensor(1);
  if (!context.Ok()) return;
  const int64_t n = TF_TensorElementCount(ta);
  context.Expect(TF_TensorElementCount(tb) == n, "the terms are not of one size");
  float* y = context.OutputInPlaceOf(0, 0, ta);
  if (!context.Ok()) return;
  const float *a = Data(ta), *b = Data(tb);
  const auto bounds = Activation::Of(with.activation);
  ForEachBlock(n, [&](int64_t begin, int64_t count) {
    AddBounded(a + begin, b + begin, count, bounds.lo, bounds.hi, y + begin);
  });
}

// Parameter, gradient, velocity and rate to the new parameter and velocity.
void Momentum(const Settings& with, Context& context) {
  TF_Tensor *tp = context.InputTensor(0), *tg = context.InputTensor(1), *tv = context.InputTensor(2),
            *tr = context.InputTensor(3);
  if (!context.Ok()) return;
  const int64_t n = TF_TensorElementCount(tp);
  context.Expect(TF_TensorElementCount(tg) == n && TF_TensorElementCount(tv) == n && TF_TensorElementCount(tr) == 1,
                 "a parameter, its gradient and its velocity are not of one size");
  float *new_p = context.OutputLike(0, tp), *new_v = context.OutputLike(1, tp);
  if (!context.Ok()) return;
  const float *p = Data(tp), *g = Data(tg),
              *v = Data(tv), rate = *Data(tr);
  ForEachBlock(n, [&](int64_t begin, int64_t count) {
    Descend(p + begin, g + begin, v + begin, count, rate, with.momentum, with.decay, with.nesterov, new_p + begin,
            new_v + begin);
  });
}

// Parameter, gradient, the running means of it and of its square, rate and both corrections to the new three of the former.
void Adam(const Settings& with, Context& context) {
  TF_Tensor *tp = context.InputTensor(0), *tg = context.InputTensor(1), *tm = context.InputTensor(2),
            *tv = context.InputTensor(3), *tr = context.InputTensor(4), *ts = context.InputTensor(5),
            *tf = context.InputTensor(6);
  if (!context.Ok()) return;
  const int64_t n = TF_TensorElementCount(tp);
  for (TF_Tensor* each : {tg, tm, tv}) {
    context.Expect(TF_TensorElementCount(each) == n, "a parameter, its gradient and its moments are not of one size");
  }
  for (TF_Tensor* each : {tr, ts, tf}) context.Expect(TF_TensorElementCount(each) == 1, "no single number");
  float *new_p = context.OutputLike(0, tp), *new_m = context.OutputLike(1, tp), *new_v = context.OutputLike(2, tp);
  if (!context.Ok()) return;
  const float *p = Data(tp), *g = Data(tg), *m = Data(tm), *v = Data(tv);
  const float rate = *Data(tr), scale = *Data(ts), floor = *Data(tf);
  ForEachBlock(n, [&](int64_t begin, int64_t count) {
    DescendByAdam(p + begin, g + begin, m + begin, v + begin, count, with, rate, scale, floor, new_p + begin,
                  new_m + begin, new_v + begin);
  });
}

}  // namespace undistill
