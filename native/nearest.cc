// What is known of keys that are near.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "operation.h"
#include "workers.h"
#include "workspace.h"

namespace undistill {
namespace {

// Distances that stay in the nearest cache while they are summed up.
constexpr int64_t kBlock = 1024;

// Of a row to `count` keys, [columns, apart], the sums over columns of how far they are; the least of them.
FOR_EACH_PROCESSOR float Distances(const float* __restrict row, const float* __restrict keys, int64_t columns, int64_t apart,
                                   int64_t count, float* __restrict y) {
  for (int64_t j = 0; j < count; j++) y[j] = 0.0f;
  for (int64_t k = 0; k < columns; k++, keys += apart) {
    const float own = row[k];
    for (int64_t j = 0; j < count; j++) y[j] += __builtin_fabsf(own - keys[j]);
  }
  float least = kNone;
  for (int64_t j = 0; j < count; j++) least = y[j] < least ? y[j] : least;
  return least;
}

}  // namespace

// Rows [n, columns] and their groups [n], keys [columns, count] and their groups [count], in ascending order, and values [count, width], to
// the mean value [n, width] of a row's nearest keys: of its group where that has any, within a Manhattan distance, or no farther than the
// nearest is.
void MeanOfNearest(const Settings& settings, Context& context) {
  TF_Tensor *trows = context.InputTensor(0), *town = context.InputTensor(1), *tkeys = context.InputTensor(2),
            *tgroups = context.InputTensor(3), *tvalues = context.InputTensor(4);
  if (!context.Ok()) return;
  context.Expect(TF_NumDims(trows) == 2 && TF_NumDims(tkeys) == 2 && TF_NumDims(tvalues) == 2 && TF_Dim(trows, 1) == TF_Dim(tkeys, 0) &&
                     TF_Dim(tkeys, 1) == TF_Dim(tvalues, 0) && TF_Dim(tkeys, 1) > 0 && TF_TensorElementCount(town) == TF_Dim(trows, 0) &&
                     TF_TensorElementCount(tgroups) == TF_Dim(tkeys, 1),
                 "rows, keys, groups and values do not fit");
  if (!context.Ok()) return;
  const int64_t n = TF_Dim(trows, 0), columns = TF_Dim(trows, 1), all = TF_Dim(tkeys, 1), width = TF_Dim(tvalues, 1);
  const float *rows = Data(trows), *own = Data(town), *keys = Data(tkeys), *groups = Data(tgroups), *values = Data(tvalues);
  context.Expect(std::is_sorted(groups, groups + all), "keys are not in the order of their groups");
  float* y = context.Output(0, {n, width});
  if (!context.Ok()) return;
  Workers().Run(n, [&](int64_t r) {
    auto [first, last] = std::equal_range(groups, groups + all, own[r]);
    if (first == last) first = groups, last = groups + all;
    const int64_t begin = first - groups, count = last - first, blocks = (count + kBlock - 1) / kBlock;
    const Workspace space(count + blocks);
    float *distance = space.Data(), *least = distance + count;
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t at = b * kBlock;
      least[b] = Distances(rows + r * columns, keys + begin + at, columns, all, std::min(kBlock, count - at), distance + at);
    }
    const float limit = std::max(settings.within, *std::min_element(least, least + blocks));
    std::vector<double> sum(width);
    int64_t found = 0;
    for (int64_t b = 0; b < blocks; b++) {
      if (least[b] > limit) continue;
      for (int64_t j = b * kBlock; j < std::min(count, (b + 1) * kBlock); j++) {
        if (!(distance[j] <= limit)) continue;
        found++;
        for (int64_t i = 0; i < width; i++) sum[i] += values[(begin + j) * width + i];
      }
    }
    for (int64_t i = 0; i < width; i++) y[r * width + i] = static_cast<float>(sum[i] / found);
  });
}

}  // namespace undistill
