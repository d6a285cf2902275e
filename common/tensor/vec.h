// SPDX-License-Identifier: Apache-2.0
// A small vector vocabulary over the compilers' vector extensions: the width VL follows the instruction set that the
// including file is compiled for (AVX-512: 16 floats, AVX2: 8, otherwise 4: SSE2, NEON). Kernel bodies (body_*.h) are
// written once over it. Partial loads fill with zeros and partial stores touch n elements only, so tails run through the
// same arithmetic as full vectors and an element's value does not depend on where a row was cut.
// Define AGRL_VEC_PORTABLE before including it to get the narrow form whatever the compiler flags.
#ifndef AGRL_TENSOR_VEC_H
#define AGRL_TENSOR_VEC_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the kernels read pairs of bf16 as 32-bit words and need a little-endian machine"
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && !defined(AGRL_VEC_PORTABLE)
#include <immintrin.h>
#define VL 16
#elif defined(__AVX2__) && defined(__FMA__) && !defined(AGRL_VEC_PORTABLE)
#include <immintrin.h>
#define VL 8
#else
#define VL 4
#endif

#define VINLINE static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef uint32_t vu __attribute__((vector_size(VL * 4)));
typedef uint16_t vh __attribute__((vector_size(VL * 2)));

VINLINE vf v_ld(const float *p) { vf v; memcpy(&v, p, sizeof v); return v; }
VINLINE void v_st(float *p, vf v) { memcpy(p, &v, sizeof v); }
VINLINE vu v_ldu(const void *p) { vu v; memcpy(&v, p, sizeof v); return v; }
VINLINE vf v_ldn(const float *p, size_t n) { vf v = {0}; memcpy(&v, p, (n < VL ? n : VL) * 4); return v; }
VINLINE void v_stn(float *p, vf v, size_t n) { memcpy(p, &v, (n < VL ? n : VL) * 4); }
// Loads or stores what is left of a row: a full vector, or fewer elements at its end.
VINLINE vf v_ldr(const float *p, size_t left) { return __builtin_expect(left >= VL, 1) ? v_ld(p) : v_ldn(p, left); }
VINLINE void v_str(float *p, vf v, size_t left) {
  if (__builtin_expect(left >= VL, 1)) v_st(p, v);
  else v_stn(p, v, left);
}
VINLINE void v_sth(uint16_t *p, vh v, size_t left) {
  if (__builtin_expect(left >= VL, 1)) memcpy(p, &v, VL * 2);
  else memcpy(p, &v, left * 2);
}
VINLINE vf v_set(float a) { return (vf){0} + a; }
VINLINE vi v_seti(int32_t a) { return (vi){0} + a; }
VINLINE vf v_sel(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }  // mask ? a : b

#if VL == 16
VINLINE vf v_fma(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
VINLINE vf v_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }  // b when a or b is NaN
VINLINE vf v_min(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
VINLINE vf v_sqrt(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }
#elif VL == 8
VINLINE vf v_fma(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
VINLINE vf v_max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
VINLINE vf v_min(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
VINLINE vf v_sqrt(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }
#else
VINLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
VINLINE vf v_max(vf a, vf b) { return v_sel(a > b, a, b); }
VINLINE vf v_min(vf a, vf b) { return v_sel(a < b, a, b); }
VINLINE vf v_sqrt(vf a) {
  for (int i = 0; i < VL; i++) a[i] = sqrtf(a[i]);
  return a;
}
#endif

// Pairwise folding of vectors: v_fold<s> adds the halves named by stage s of a and of b and keeps both sums in one
// vector. log2(VL) stages reduce VL vectors to one whose lane i is the total of vector i. Each total is summed in the
// same order however many vectors take part, which is what makes the tiles built on it interchangeable bit by bit.
#if VL == 16
#define V_SHUF __builtin_shufflevector
VINLINE vf v_fold0(vf a, vf b) {
  return V_SHUF(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
         V_SHUF(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}
VINLINE vf v_fold1(vf a, vf b) {
  return V_SHUF(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
         V_SHUF(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
VINLINE vf v_fold2(vf a, vf b) {
  return V_SHUF(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
         V_SHUF(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}
VINLINE vf v_fold3(vf a, vf b) { return v_fold2(a, b); }
#define V_STAGES 4
#elif VL == 8
#define V_SHUF __builtin_shufflevector
VINLINE vf v_fold0(vf a, vf b) {
  return V_SHUF(a, b, 0, 8, 1, 9, 4, 12, 5, 13) + V_SHUF(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
}
VINLINE vf v_fold1(vf a, vf b) {
  return V_SHUF(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + V_SHUF(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
}
VINLINE vf v_fold2(vf a, vf b) {
  return V_SHUF(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + V_SHUF(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}
VINLINE vf v_fold3(vf a, vf b) { return a; }
#define V_STAGES 3
#else
#define V_SHUF __builtin_shufflevector
VINLINE vf v_fold0(vf a, vf b) { return V_SHUF(a, b, 0, 4, 1, 5) + V_SHUF(a, b, 2, 6, 3, 7); }
VINLINE vf v_fold1(vf a, vf b) { return V_SHUF(a, b, 0, 1, 4, 5) + V_SHUF(a, b, 2, 3, 6, 7); }
VINLINE vf v_fold2(vf a, vf b) { return a; }
VINLINE vf v_fold3(vf a, vf b) { return a; }
#define V_STAGES 2
#endif

VINLINE vf v_fold(int stage, vf a, vf b) {
  return stage == 0 ? v_fold0(a, b) : stage == 1 ? v_fold1(a, b) : stage == 2 ? v_fold2(a, b) : v_fold3(a, b);
}

// Totals of n vectors (n a constant power of two, at most VL) in lanes 0..n-1. Overwrites a.
VINLINE vf v_totals(vf *a, int n) {
#pragma GCC unroll 4
  for (int s = 0; s < V_STAGES; s++) {
    int pairs = n >> (s + 1);
    if (pairs == 0) a[0] = v_fold(s, a[0], a[0]);
#pragma GCC unroll 8
    for (int i = 0; i < pairs; i++) a[i] = v_fold(s, a[2 * i], a[2 * i + 1]);
  }
  return a[0];
}
VINLINE float v_total(vf a) { return v_totals(&a, 1)[0]; }
VINLINE float v_maximum(vf a) {
  float m = a[0];
  for (int i = 1; i < VL; i++) m = a[i] > m ? a[i] : m;
  return m;
}

// exp by range reduction to [-ln2/2, ln2/2] and a degree-7 polynomial (coefficients of Cephes' expf). Relative error
// below 2 ulp where the result is at least 2^-125; smaller results are 0. exp(0) is exactly 1; NaN stays NaN.
VINLINE vf v_exp(vf x) {
  const vf lo = v_set(-86.643397f), hi = v_set(88.722839f), magic = v_set(12582912.0f);
  vf c = v_min(hi, v_max(lo, x));
  vf t = v_fma(c, v_set(1.44269504088896341f), magic);
  vf n = t - magic;
  vf r = v_fma(n, v_set(-0.693359375f), c);
  r = v_fma(n, v_set(2.12194440e-4f), r);
  vf p = v_set(1.9875691500e-4f);
  p = v_fma(p, r, v_set(1.3981999507e-3f));
  p = v_fma(p, r, v_set(8.3334519073e-3f));
  p = v_fma(p, r, v_set(4.1665795894e-2f));
  p = v_fma(p, r, v_set(1.6666665459e-1f));
  p = v_fma(p, r, v_set(5.0000001201e-1f));
  p = v_fma(p, r * r, r) + 1.0f;
  vi e = ((vi)t - (vi)magic + 126) << 23;  // 2^(n-1), doubled below so that n = 128 does not overflow
  p = p * (vf)e * 2.0f;
  p = (vf)((vi)p & ~(x < lo));
  return v_sel(x > hi, v_set(INFINITY), p);
}

// bf16, round to nearest even; NaN stays NaN (made quiet). As 32-bit words with the low half zero.
VINLINE vu v_bf16_bits(vf x) {
  vu u = (vu)x;
  vu r = u + 0x7fffu + ((u >> 16) & 1u);
  vu nan = (vu)((vi)(u & 0x7fffffffu) > v_seti(0x7f800000));
  return ((nan & (u | 0x400000u)) | (~nan & r)) & 0xffff0000u;
}
VINLINE vh v_narrow(vu bits) { return __builtin_convertvector(bits >> 16, vh); }

#endif
