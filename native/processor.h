// What a processor can do, as far as it may be used.

#ifndef UNDISTILL_PROCESSOR_H_
#define UNDISTILL_PROCESSOR_H_

#include <cstdlib>
#include <cstring>

namespace undistill {

// Tests ask for less than there is: UNDISTILL_VECTORS is avx512, without AMX, or avx2. It is read once.
enum class Vectors { kAvx2, kAvx512, kAll };

inline Vectors Allowed() {
  static const Vectors allowed = [] {
    const char* wanted = std::getenv("UNDISTILL_VECTORS");
    if (wanted != nullptr && std::strcmp(wanted, "avx2") == 0) return Vectors::kAvx2;
    return wanted != nullptr && std::strcmp(wanted, "avx512") == 0 ? Vectors::kAvx512 : Vectors::kAll;
  }();
  return allowed;
}

#if defined(__x86_64__)
inline bool HasAvx512() { return Allowed() >= Vectors::kAvx512 && __builtin_cpu_supports("avx512f"); }
#endif

}  // namespace undistill

#endif  // UNDISTILL_PROCESSOR_H_
