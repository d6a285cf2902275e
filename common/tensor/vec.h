// SPDX-License-Identifier: Apache-2.0
// A small vector vocabulary over the compilers' vector extensions: the width VL follows the instruction set that the
// including file is compiled for (AVX-512: 16 floats, AVX2: 8, NEON: 4; otherwise 4, made of what the compiler has). Kernel bodies (body_*.h) are
// written once over it. Partial loads fill with zeros and partial stores touch n elements only, so tails run through
// the same arithmetic as full vectors and an element's value does not depend on where a row was cut. Define
// AGRL_VEC_PORTABLE before including it to get the narrow form whatever the compiler flags.
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
#elif defined(__aarch64__) && !defined(AGRL_VEC_PORTABLE)
#include <arm_neon.h>
#define VL 4
#define V_NEON
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
#if VL == 16
VINLINE vf v_set(float a) { return (vf){a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a}; }
#elif VL == 8
VINLINE vf v_set(float a) { return (vf){a, a, a, a, a, a, a, a}; }
#else
VINLINE vf v_set(float a) { return (vf){a, a, a, a}; }
#endif
VINLINE vi v_seti(int32_t a) { return (vi){0} + a; }
#if defined(V_NEON)
VINLINE vf v_sel(vi mask, vf a, vf b) { return (vf)vbslq_f32((uint32x4_t)mask, (float32x4_t)a, (float32x4_t)b); }  // mask ? a : b
#else
VINLINE vf v_sel(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }  // mask ? a : b
#endif

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
#elif defined(V_NEON)
VINLINE vf v_fma(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
VINLINE vf v_max(vf a, vf b) { return v_sel(a > b, a, b); }  // as on x86: fmax would return the number, not b
VINLINE vf v_min(vf a, vf b) { return v_sel(a < b, a, b); }
VINLINE vf v_sqrt(vf a) { return (vf)vsqrtq_f32((float32x4_t)a); }
#else
VINLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
VINLINE vf v_max(vf a, vf b) { return v_sel(a > b, a, b); }
VINLINE vf v_min(vf a, vf b) { return v_sel(a < b, a, b); }
VINLINE vf v_sqrt(vf a) {
  for (int i = 0; i < VL; i++) a[i] = sqrtf(a[i]);
  return a;
}
#endif

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
