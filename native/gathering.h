// Convolutions, and the gradients to images, as sums over given pixels.

#ifndef UNDISTILL_GATHERING_H_
#define UNDISTILL_GATHERING_H_

#include <algorithm>
#include <cstdint>
#include <vector>

namespace undistill {

// Images [n, height, width, from] by a square kernel to [n, down, across, to]. In groups, from and to are the channels of one.
struct Convolution {
  int64_t n, height, width, from, to, kernel, stride, padding;
  int64_t groups = 1;

  int64_t Down() const { return (height + 2 * padding - kernel) / stride + 1; }
  int64_t Across() const { return (width + 2 * padding - kernel) / stride + 1; }
};

// Results in a line of pixels, from `at` on every few ones, and the lines of a kernel that they are sums of, which meet given
// pixels beside each other from `first` on.
struct Phase {
  int64_t at, count, first;
  std::vector<int64_t> kernel;
};

// Given pixels [n, height, width, from] to those of a result [n, down, across, to]: from one result of a phase to the next it
// is `apart` pixels in the result and `along` in what is given. Turned, the filter is [kernel, kernel, to, from].
struct Gathering {
  int64_t n, height, width, from, down, across, to, kernel, apart, along;
  bool turned;
  std::vector<Phase> rows, columns;
  int64_t groups = 1;
};

inline std::vector<Phase> Forwards(int64_t count, int64_t kernel, int64_t padding) {
  Phase phase{0, count, -padding, {}};
  for (int64_t i = 0; i < kernel; i++) phase.kernel.push_back(i);
  return {phase};
}

// Pixel y of the images is in result (y + padding - i) / stride by line i of the kernel, if that is a whole number.
inline std::vector<Phase> Backwards(int64_t side, int64_t kernel, int64_t stride, int64_t padding) {
  std::vector<Phase> phases;
  for (int64_t at = 0; at < std::min(stride, side); at++) {
    Phase phase{at, (side - at + stride - 1) / stride, 0, {}};
    for (int64_t i = kernel - 1; i >= 0; i--) {
      if ((at + padding - i) % stride != 0) continue;
      if (phase.kernel.empty()) phase.first = (at + padding - i) / stride;
      phase.kernel.push_back(i);
    }
    phases.push_back(phase);
  }
  return phases;
}

inline Gathering ForwardsOf(const Convolution& of) {
  return {of.n, of.height, of.width, of.from, of.Down(), of.Across(), of.to, of.kernel, 1, of.stride, false,
          Forwards(of.Down(), of.kernel, of.padding), Forwards(of.Across(), of.kernel, of.padding), of.groups};
}

inline Gathering BackwardsOf(const Convolution& of) {
  return {of.n, of.Down(), of.Across(), of.to, of.height, of.width, of.from, of.kernel, of.stride, 1, true,
          Backwards(of.height, of.kernel, of.stride, of.padding), Backwards(of.width, of.kernel, of.stride, of.padding), of.groups};
}

}  // namespace undistill

#endif  // UNDISTILL_GATHERING_H_
