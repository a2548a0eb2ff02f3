// What the convolutions for AVX-512 share, whose vectors have 16 numbers.

#ifndef UNDISTILL_AVX512_H_
#define UNDISTILL_AVX512_H_

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>

#define AVX512 __attribute__((target("avx512f")))
#define AVX512_HERE __attribute__((target("avx512f"), always_inline))
#define AVX512_INLINE AVX512_HERE inline

namespace undistill {

// Adds so many numbers, a multiple of 16, to others.
AVX512 inline void Add(const float* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i += 16)
    _mm512_storeu_ps(to + i, _mm512_add_ps(_mm512_loadu_ps(to + i), _mm512_loadu_ps(from + i)));
}

// 16 rows of 16 numbers, `next` apart, to columns.
AVX512 inline void Transpose(const float* rows, int64_t next, float columns[16][16]) {
  __m512 r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_ps(rows + i * next);
  // Within lanes of four: pairs of rows, then fours.
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  // r[4 b + j] has column 4 l + j of rows 4 b to 4 b + 3 in lane l: lanes change places with b.
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    const __m512 even_low = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88), odd_low = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd),
                 even_high = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88),
                 odd_high = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
    _mm512_storeu_ps(columns[j], _mm512_shuffle_f32x4(even_low, even_high, 0x88));
    _mm512_storeu_ps(columns[4 + j], _mm512_shuffle_f32x4(odd_low, odd_high, 0x88));
    _mm512_storeu_ps(columns[8 + j], _mm512_shuffle_f32x4(even_low, even_high, 0xdd));
    _mm512_storeu_ps(columns[12 + j], _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd));
  }
}

}  // namespace undistill
#endif

#endif  // UNDISTILL_AVX512_H_
