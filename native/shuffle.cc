// Channels of two tensors in turn, and back: what ShuffleNet does between its units.

#include <algorithm>
#include <cstdint>
#include <functional>

#include "operation.h"
#include "workers.h"

namespace undistill {
namespace {

// Rows of `pairs` numbers of a and of b, which are `from` numbers apart, to rows of twice as many in turn, which are `to` apart.
FOR_EACH_PROCESSOR void InTurn(const float* __restrict a, const float* __restrict b, int64_t rows, int64_t pairs, int64_t from,
                               int64_t to, float* __restrict y) {
  for (int64_t r = 0; r < rows; r++, a += from, b += from, y += to) {
    for (int64_t i = 0; i < pairs; i++) {
      y[2 * i] = a[i];
      y[2 * i + 1] = b[i];
    }
  }
}

// Back.
FOR_EACH_PROCESSOR void Apart(const float* __restrict y, int64_t rows, int64_t pairs, int64_t from, int64_t to,
                              float* __restrict a, float* __restrict b) {
  for (int64_t r = 0; r < rows; r++, a += to, b += to, y += from) {
    for (int64_t i = 0; i < pairs; i++) {
      a[i] = y[2 * i];
      b[i] = y[2 * i + 1];
    }
  }
}

// Two tensors [..., c] of one shape.
struct Two {
  int64_t channels, rows;

  Two(Context& context, TF_Tensor* a, TF_Tensor* b) : channels(ChannelsOf(context, a, {})), rows(0) {
    if (!context.Ok()) return;
    context.Expect(TF_TensorElementCount(b) == TF_TensorElementCount(a), "two tensors are not of one size");
    rows = TF_TensorElementCount(a) / channels;
  }
};

// For some rows at a time, of so many numbers each: where they begin, and how many they are.
void ForEachRows(int64_t rows, int64_t width, const std::function<void(int64_t begin, int64_t count)>& body) {
  const int64_t some = std::max<int64_t>(1, 16384 / width);
  Workers().Run((rows + some - 1) / some, [&](int64_t i) { body(i * some, std::min(some, rows - i * some)); });
}

}  // namespace

// a and b [n, h, w, c] to [n, h, w, 2 c].
void Interleave(const Settings&, Context& context) {
  TF_Tensor *ta = context.InputTensor(0), *tb = context.InputTensor(1);
  if (!context.Ok()) return;
  const Two two(context, ta, tb);
  context.Expect(TF_NumDims(ta) == 4, "no images");
  if (!context.Ok()) return;
  const int64_t c = two.channels;
  float* y = context.Output(0, {TF_Dim(ta, 0), TF_Dim(ta, 1), TF_Dim(ta, 2), 2 * c});
  if (!context.Ok()) return;
  const float *a = Data(ta), *b = Data(tb);
  ForEachRows(two.rows, c, [&](int64_t begin, int64_t count) {
    InTurn(a + begin * c, b + begin * c, count, c, c, 2 * c, y + 2 * begin * c);
  });
}

// [n, h, w, 2 c] to the channels of even number and those of odd number.
void EveryOther(const Settings&, Context& context) {
  TF_Tensor* ty = context.InputTensor(0);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(ty) == 4 && TF_Dim(ty, 3) % 2 == 0, "no images, or an odd number of channels");
  if (!context.Ok()) return;
  const int64_t c = ChannelsOf(context, ty, {}) / 2;
  float *a = context.Output(0, {TF_Dim(ty, 0), TF_Dim(ty, 1), TF_Dim(ty, 2), c}),
        *b = context.Output(1, {TF_Dim(ty, 0), TF_Dim(ty, 1), TF_Dim(ty, 2), c});
  if (!context.Ok()) return;
  const float* y = Data(ty);
  ForEachRows(TF_TensorElementCount(ty) / (2 * c), c, [&](int64_t begin, int64_t count) {
    Apart(y + 2 * begin * c, count, c, 2 * c, c, a + begin * c, b + begin * c);
  });
}

// a and b [..., c], with an even c, to the first and the last c of their channels in turn.
void Shuffle(const Settings&, Context& context) {
  TF_Tensor *ta = context.InputTensor(0), *tb = context.InputTensor(1);
  if (!context.Ok()) return;
  const Two two(context, ta, tb);
  context.Expect(two.channels % 2 == 0, "an odd number of channels");
  float *first = context.OutputLike(0, ta), *last = context.OutputLike(1, ta);
  if (!context.Ok()) return;
  const float *a = Data(ta), *b = Data(tb);
  const int64_t c = two.channels, half = c / 2;
  ForEachRows(two.rows, c, [&](int64_t begin, int64_t count) {
    const int64_t at = begin * c;
    InTurn(a + at, b + at, count, half, c, c, first + at);
    InTurn(a + at + half, b + at + half, count, half, c, c, last + at);
  });
}

// Back.
void Unshuffle(const Settings&, Context& context) {
  TF_Tensor *tf = context.InputTensor(0), *tl = context.InputTensor(1);
  if (!context.Ok()) return;
  const Two two(context, tf, tl);
  context.Expect(two.channels % 2 == 0, "an odd number of channels");
  float *a = context.OutputLike(0, tf), *b = context.OutputLike(1, tf);
  if (!context.Ok()) return;
  const float *first = Data(tf), *last = Data(tl);
  const int64_t c = two.channels, half = c / 2;
  ForEachRows(two.rows, c, [&](int64_t begin, int64_t count) {
    const int64_t at = begin * c;
    Apart(first + at, count, half, c, c, a + at, b + at);
    Apart(last + at, count, half, c, c, a + at + half, b + at + half);
  });
}

}  // namespace undistill
