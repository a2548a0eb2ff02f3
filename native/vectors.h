// Vectors that the compiler makes instructions of, for processors with AVX-512 and with AVX2.

#ifndef UNDISTILL_VECTORS_H_
#define UNDISTILL_VECTORS_H_

#include <cstdint>

namespace undistill {

#if defined(__x86_64__) && defined(__GNUC__)
// As a template's argument, a type would lose its alignment.
struct Lanes16 {
  typedef float Vector __attribute__((vector_size(64), aligned(4), may_alias));
};
struct Lanes8 {
  typedef float Vector __attribute__((vector_size(32), aligned(4), may_alias));
};
#endif

// A multiple that is no less.
constexpr int64_t RoundUp(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

}  // namespace undistill

#endif  // UNDISTILL_VECTORS_H_
