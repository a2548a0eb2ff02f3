// Convolutions of few channels, plane by plane.

#ifndef UNDISTILL_PLANES_H_
#define UNDISTILL_PLANES_H_

#include "gathering.h"

namespace undistill {

// Whether it is so that pixels are gathered, and that a filter's gradient is summed: of few channels, by a small kernel and no stride, on a
// processor with AVX-512 or AVX2.
bool GathersInPlanes(const Gathering& of);
bool SumsInPlanes(const Gathering& of);

// Given pixels to those of a result.
void GatherInPlanes(const Gathering& of, const float* given, const float* filter, float* result);

// Images and the gradient to the result to that to the filter, [kernel, kernel, from, to].
void PlanesToFilter(const Gathering& of, const float* x, const float* dy, float* filter);

}  // namespace undistill

#endif  // UNDISTILL_PLANES_H_
