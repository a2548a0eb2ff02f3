// Matrix instructions (AMX), whose factors are bfloat16 and whose sums are float32; and float32 by them.
//
// A register holds 16 rows of 64 bytes: 32 factors, or 16 sums. Of the factors of a sum, those of the first matrix are a row each, and
// those of the second are pairs of rows: [16 pairs, 16 columns, 2].

#ifndef UNDISTILL_MATRICES_H_
#define UNDISTILL_MATRICES_H_

#include "avx512.h"
#include "processor.h"
#include "workspace.h"

// Where the compiler is known to have the instructions.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#if __has_include(<amxbf16intrin.h>) && __has_include(<avx512bf16intrin.h>)
#define HAS_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <type_traits>
#include <utility>

#define BFLOAT16 __attribute__((target("avx512f,avx512bw,avx512bf16")))
#define BFLOAT16_HERE __attribute__((target("avx512f,avx512bw,avx512bf16"), always_inline))
#define BFLOAT16_INLINE BFLOAT16_HERE inline

namespace undistill {

using Bfloat16 = uint16_t;

// Rows of a register, and columns of sums; factors in a row, and in a register.
constexpr int64_t kRows = 16, kFactors = 32, kRegister = kRows * kFactors;

// Whether the processor has the instructions, and the system their registers.
inline bool HasMatrices() {
  static const bool has = [] {
    if (Allowed() < Vectors::kAll) return false;
    unsigned a, b, c, d, e;
    constexpr unsigned bfloat16 = 1u << 5, amx = 1u << 22 | 1u << 24;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & amx) != amx) return false;
    if (!__get_cpuid_count(7, 1, &e, &b, &c, &d) || (e & bfloat16) == 0 || !__builtin_cpu_supports("avx512bw")) return false;
    // Linux gives a process the registers when it asks for them.
    constexpr int ask = 0x1023, registers = 18;
    return syscall(SYS_arch_prctl, ask, registers) == 0;
  }();
  return has;
}

/* Instructions, of registers that are known when this is compiled */

template <int to>
inline void Zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(to));
}

template <int to>
inline void Load(const void* from, int64_t apart) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(apart), "i"(to) : "memory");
}

template <int from>
inline void Store(void* to, int64_t apart) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(apart), "i"(from) : "memory");
}

// sum += a b.
template <int sum, int a, int b>
inline void MultiplyAdd() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
}

template <typename Body, int... i>
inline void Each(Body body, std::integer_sequence<int, i...>) {
  (body(std::integral_constant<int, i>()), ...);
}

// body(0) to body(count - 1), with numbers that are types.
template <int count, typename Body>
inline void Each(Body body) {
  Each(body, std::make_integer_sequence<int, count>());
}

// The registers of this thread while it lives, with so many rows in those for sums and for images. Others' are put back.
class Registers {
 public:
  explicit Registers(int64_t rows) {
    asm volatile("sttilecfg %0" : "=m"(before_));
    Setting setting{};
    setting.palette = 1;
    for (int i = 0; i < 8; i++) {
      setting.bytes[i] = 64;
      setting.rows[i] = static_cast<uint8_t>(i < 6 ? rows : kRows);
    }
    Set(setting);
  }
  ~Registers() {
    if (before_.palette == 0)
      asm volatile("tilerelease");
    else
      Set(before_);
  }
  Registers(const Registers&) = delete;

 private:
  struct alignas(64) Setting {
    uint8_t palette, start, unused[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  };

  static void Set(const Setting& setting) { asm volatile("ldtilecfg %0" : : "m"(setting)); }

  Setting before_;
};

// Memory for so many factors.
class Factors {
 public:
  explicit Factors(int64_t count) : memory_((count + 1) / 2) {}
  Bfloat16* Data() const { return reinterpret_cast<Bfloat16*>(memory_.Data()); }

 private:
  Workspace memory_;
};

// The first `count` of 16, if there are as many.
inline __mmask16 Lanes(int64_t count) { return static_cast<__mmask16>(count >= 16 ? 0xffff : count <= 0 ? 0 : (1u << count) - 1); }

/* Float32 */

// A float32 is the sum of three bfloat16, its parts, of which each has the next eight bits. Of the nine products of two numbers' parts
// six make theirs but for bits that float32 has not: with sums of pairs, errors are about half of what plain float32 sums have.
// Henry, Tang and Heinecke, Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations (2019).
// What is not finite becomes NaN.
constexpr int64_t kParts = 3;

// A register of each part, beside each other.
constexpr int64_t kWhole = kParts * kRegister;

// Float32 numbers that take the place of so many of these.
constexpr int64_t Wholes(int64_t count) { return count * kWhole / 2; }

enum class Order { kBeside, kInTurn };

// To a row of each part's register: the first 16 numbers and then the second ones, or one of each in turn.
template <Order order>
BFLOAT16_INLINE void StoreParts(__m512 first, __m512 second, Bfloat16* to) {
  alignas(64) static constexpr uint16_t kBeside[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                                       33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  alignas(64) static constexpr uint16_t kInTurn[32] = {1,  33, 3,  35, 5,  37, 7,  39, 9,  41, 11, 43, 13, 45, 15, 47,
                                                       17, 49, 19, 51, 21, 53, 23, 55, 25, 57, 27, 59, 29, 61, 31, 63};
  const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(static_cast<int>(0xffff0000)),
                places = _mm512_load_si512(order == Order::kBeside ? kBeside : kInTurn);
  __m512 rests[2] = {first, second};
  __m512i parts[2];
#pragma GCC unroll 3
  for (int part = 0; part < kParts; part++) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
      parts[i] = _mm512_castps_si512(rests[i]);
      // The first part is rounded; of what is left, no more than the bits of two parts, there is nothing to round.
      if (part == 0) parts[i] = _mm512_add_epi32(parts[i], half);
      if (part < 2) {
        parts[i] = _mm512_and_si512(parts[i], upper);
        rests[i] = _mm512_sub_ps(rests[i], _mm512_castsi512_ps(parts[i]));
      }
    }
    _mm512_store_si512(to + part * kRegister, _mm512_permutex2var_epi16(parts[0], places, parts[1]));
  }
}

// 32 rows of 16 numbers to their parts' registers, turned: of each column one row.
BFLOAT16 inline void ColumnsToParts(const float* from, Bfloat16* to) {
  alignas(64) float first[16][16], second[16][16];
  Transpose(from, 16, first);
  Transpose(from + 16 * 16, 16, second);
  for (int64_t c = 0; c < kRows; c++, to += kFactors)
    StoreParts<Order::kBeside>(_mm512_load_ps(first[c]), _mm512_load_ps(second[c]), to);
}

// From one matrix's registers to the next ones: of 16 rows or columns more, and of 32 factors more.
struct Steps {
  int64_t beside, on;
};

// Sums of 16 rows or 32 by 16 columns or 32, `next` numbers apart, of so many times 32 factors, added to what is there or not.
template <int rows, int columns>
inline void MultiplyParts(const Bfloat16* a, Steps of_a, const Bfloat16* b, Steps of_b, int64_t times, bool add, float* sums,
                          int64_t next) {
  static_assert(rows <= 2 && columns <= 2);
  const int64_t line = next * static_cast<int64_t>(sizeof(float));
  const auto each_sum = [&](auto body) { Each<rows>([&](auto i) { Each<columns>([&](auto j) { body(i, j); }); }); };
  each_sum([&](auto i, auto j) {
    if (add)
      Load<2 * i + j>(sums + i * kRows * next + j * 16, line);
    else
      Zero<2 * i + j>();
  });
  for (int64_t time = 0; time < times; time++, a += of_a.on, b += of_b.on) {
    const auto load_a = [&](int part) { Each<rows>([&](auto i) { Load<4 + i>(a + i * of_a.beside + part * kRegister, 64); }); };
    const auto load_b = [&](int part) { Each<columns>([&](auto j) { Load<6 + j>(b + j * of_b.beside + part * kRegister, 64); }); };
    const auto multiply = [&] { each_sum([&](auto i, auto j) { MultiplyAdd<2 * i + j, 4 + i, 6 + j>(); }); };
    // Such that from product to product one of the two stays; the largest come late.
    load_a(0), load_b(2), multiply();
    load_b(1), multiply();
    load_a(1), multiply();
    load_b(0), multiply();
    load_a(2), multiply();
    load_a(0), multiply();
  }
  each_sum([&](auto i, auto j) { Store<2 * i + j>(sums + i * kRows * next + j * 16, line); });
}

}  // namespace undistill
#endif
#endif

#endif  // UNDISTILL_MATRICES_H_
