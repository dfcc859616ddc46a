// Vectors of the processor at hand: how a number lies in memory, how a vector is multiplied, e^x and GELU of a vector.
//
// With -DBITS=32, 16 or 8, the bits of a weight. Of bf16 weights the inputs are rounded to bf16 where the processor multiplies that, of
// 8-bit weights to 8 bits, a scale for each row, and sums are exact. Keys and values are bf16 unless weights are fp32.

#pragma once

#include <cstdint>
#include <cstring>
#include <immintrin.h>

#ifdef __AVX512F__
constexpr int64_t BYTES = 64, MOST_ROWS = 8;  // of a vector; rows computed together: as many sums as there are registers for
#else
constexpr int64_t BYTES = 32, MOST_ROWS = 4;
#endif
constexpr int64_t LANES = BYTES / 4, VECTORS = 2, WIDTH = LANES * VECTORS;  // numbers in a vector; vectors, outputs of a panel
constexpr int64_t AHEAD = 8192;  // bytes: one row's weights are fetched so long before their turn
extern "C" const int64_t lanes = LANES;

typedef float floats __attribute__((vector_size(BYTES), aligned(4)));
typedef int32_t ints __attribute__((vector_size(BYTES), aligned(4)));
typedef uint32_t words __attribute__((vector_size(BYTES), aligned(4)));
typedef uint16_t halves __attribute__((vector_size(BYTES / 2), aligned(2)));
typedef uint8_t bytes __attribute__((vector_size(BYTES / 4), aligned(1)));

// ----- a number in memory, a vector in a register --------------------------------------------------------------------------------

#if BITS == 32
typedef float cell;
static inline floats load(const cell *p) { return *(const floats *)p; }
static inline cell to_cell(float x) { return x; }
#else
typedef uint16_t cell;  // bf16
static inline floats load(const cell *p) { return (floats)(__builtin_convertvector(*(const halves *)p, words) << 16); }
static inline cell to_cell(float x) {  // to the nearest, ties to even
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
#endif

#if BITS == 32
typedef float input;
typedef floats sums, weights;
constexpr int64_t GROUP = 1;
static inline weights unpack(const char *p) { return *(const floats *)p; }
static inline sums add(sums sum, weights w, const input *x) { return sum + w * x[0]; }
#elif BITS == 16 && defined __AVX512BF16__
typedef uint16_t input;
typedef floats sums;
typedef __m512bh weights;
constexpr int64_t GROUP = 2;
static inline weights unpack(const char *p) { return (__m512bh)_mm512_loadu_si512(p); }
static inline sums add(sums sum, weights w, const input *x) {
    int32_t two;
    memcpy(&two, x, 4);
    return (floats)_mm512_dpbf16_ps((__m512)sum, w, (__m512bh)_mm512_set1_epi32(two));
}
#elif BITS == 16
typedef float input;
typedef floats sums;
struct weights { floats even, odd; };
constexpr int64_t GROUP = 2;
static inline weights unpack(const char *p) {
    const words pairs = *(const words *)p;
    return {(floats)(pairs << 16), (floats)(pairs & 0xffff0000u)};
}
static inline sums add(sums sum, weights w, const input *x) { return sum + w.even * x[0] + w.odd * x[1]; }
#else
#ifndef __AVX512VNNI__
#error 8-bit products need AVX512-VNNI
#endif
typedef uint8_t input;
typedef ints sums;
typedef __m512i weights;
constexpr int64_t GROUP = 4;
static inline weights unpack(const char *p) { return _mm512_loadu_si512(p); }
static inline sums add(sums sum, weights w, const input *x) {
    int32_t four;
    memcpy(&four, x, 4);
    return (ints)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(four), w);
}
#endif

static inline float total(floats v) {
    float sum = 0;
    for (int64_t i = 0; i < LANES; i++) sum += v[i];
    return sum;
}

static inline floats larger(floats a, floats b) { return a > b ? a : b; }

static inline float largest(floats v) {
    float most = v[0];
    for (int64_t i = 1; i < LANES; i++) most = v[i] > most ? v[i] : most;
    return most;
}

static const float ROUND = 12582912;  // 1.5 * 2^23: adding it leaves no bits for what is behind the point

// e^x to 2 units in the last place. Source: Cephes, expf.
static inline floats exponential(floats x) {
    x = larger(x, floats{} - 87.f);
    x = x < 88.f ? x : floats{} + 88.f;
    const floats shifted = x * 1.44269504088896341f + ROUND, n = shifted - ROUND;
    const floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
    floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.f;
    return y * (floats)(((ints)shifted - (ints)(floats{} + ROUND) + 127) << 23);
}

// x / 2 (1 + tanh u) = x / (1 + e^-2u)
static inline floats gelu(floats x) {
    return x / (1.f + exponential(-1.59576912160573f * (x + 0.044715f * x * x * x)));
}
