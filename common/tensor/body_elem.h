// SPDX-License-Identifier: Apache-2.0
// Kernel bodies, element by element: conversions, exp, SwiGLU, AdamW, sums. Included once by each kernels_<isa>.c.
#ifndef AGRL_TENSOR_BODY_ELEM_H
#define AGRL_TENSOR_BODY_ELEM_H

#include "common/tensor/kernels.h"
#include "common/tensor/vec.h"
#include "common/tensor/vec_shuffle.h"

static void k_bf16_from_f32(uint16_t *dst, const float *src, size_t n) {
  for (size_t i = 0; i < n; i += VL) v_sth(dst + i, v_narrow(v_bf16_bits(v_ldr(src + i, n - i))), n - i);
}

static void k_f32_from_bf16(float *dst, const uint16_t *src, size_t n) {
  size_t i = 0;
  for (; i + VL <= n; i += VL) {
    vh h;
    memcpy(&h, src + i, sizeof h);
    v_st(dst + i, (vf)(__builtin_convertvector(h, vu) << 16));
  }
  for (; i < n; i++) {
    uint32_t u = (uint32_t)src[i] << 16;
    memcpy(dst + i, &u, 4);
  }
}

VINLINE float f16_widen(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = (h >> 10) & 31u, man = h & 0x3ffu, bits;
  float f;
  if (exp == 31) {
    bits = sign | 0x7f800000u | (man << 13) | (man ? 0x400000u : 0);
  } else if (exp) {
    bits = sign | ((exp + 112) << 23) | (man << 13);
  } else {  // zero or subnormal: man * 2^-24, exact
    f = (float)man * 0x1p-24f;
    memcpy(&bits, &f, 4);
    bits |= sign;
  }
  memcpy(&f, &bits, 4);
  return f;
}

VINLINE uint16_t f16_narrow(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  uint16_t sign = (uint16_t)((u >> 16) & 0x8000u);
  u &= 0x7fffffffu;
  if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((u >> 13) & 0x1ffu));  // NaN, made quiet
  if (u >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);                        // rounds to infinity
  if (u < 0x38800000u) {  // subnormal or zero: let the float adder round to a multiple of 2^-24
    float a;
    memcpy(&a, &u, 4);
    a += 0.5f;
    memcpy(&u, &a, 4);
    return (uint16_t)(sign | (u - 0x3f000000u));
  }
  u += 0xfffu + ((u >> 13) & 1u);
  return (uint16_t)(sign | ((u - 0x38000000u) >> 13));
}

static void k_f32_from_f16(float *dst, const uint16_t *src, size_t n) {
  size_t i = 0;
#if VL == 16
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(dst + i, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(src + i))));
#elif VL == 8
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(src + i))));
#elif defined(V_NEON)
  for (; i + 4 <= n; i += 4) vst1q_f32(dst + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(src + i))));
#endif
  for (; i < n; i++) dst[i] = f16_widen(src[i]);
}

static void k_f16_from_f32(uint16_t *dst, const float *src, size_t n) {
  size_t i = 0;
#if VL == 16
  for (; i + 16 <= n; i += 16) _mm256_storeu_si256((void *)(dst + i), _mm512_cvtps_ph(_mm512_loadu_ps(src + i), 0));
#elif VL == 8
  for (; i + 8 <= n; i += 8) _mm_storeu_si128((void *)(dst + i), _mm256_cvtps_ph(_mm256_loadu_ps(src + i), 0));
#elif defined(V_NEON)
  for (; i + 4 <= n; i += 4) vst1_u16(dst + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(src + i))));
#endif
  for (; i < n; i++) dst[i] = f16_narrow(src[i]);
}

static void k_expf(float *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i += VL) v_str(y + i, v_exp(v_ldr(x + i, n - i)), n - i);
}

static void k_add(float *y, const float *x, size_t n) {
  size_t i = 0;
  for (; i + VL <= n; i += VL) v_st(y + i, v_ld(y + i) + v_ld(x + i));
  for (; i < n; i++) y[i] += x[i];
}

static void k_scale(float *y, float a, size_t n) {
  size_t i = 0;
  for (; i + VL <= n; i += VL) v_st(y + i, v_ld(y + i) * a);
  for (; i < n; i++) y[i] *= a;
}

// Blocks of 1024 squares in f32 lanes, totals in double.
static double k_sumsq(const float *x, size_t n) {
  double total = 0;
  for (size_t b = 0; b < n; b += 1024) {
    size_t c = n - b < 1024 ? n - b : 1024, i = 0;
    vf s0 = {0}, s1 = {0};
    for (; i + 2 * VL <= c; i += 2 * VL) {
      vf a = v_ld(x + b + i), d = v_ld(x + b + i + VL);
      s0 = v_fma(a, a, s0);
      s1 = v_fma(d, d, s1);
    }
    for (; i < c; i += VL) {
      vf a = v_ldn(x + b + i, c - i);
      s0 = v_fma(a, a, s0);
    }
    total += (double)v_total(s0 + s1);
  }
  return total;
}

static void k_swiglu(float *y, const float *g, const float *u, size_t n) {
  for (size_t i = 0; i < n; i += VL) {
    vf a = v_ldr(g + i, n - i), b = v_ldr(u + i, n - i);
    v_str(y + i, a / (v_exp(-a) + 1.0f) * b, n - i);
  }
}

static void k_swiglu_bwd(float *dg, float *du, const float *dy, const float *g, const float *u, size_t n) {
  for (size_t i = 0; i < n; i += VL) {
    vf a = v_ldr(g + i, n - i), b = v_ldr(u + i, n - i), d = v_ldr(dy + i, n - i);
    vf s = 1.0f / (v_exp(-a) + 1.0f), silu = a * s;
    v_str(dg + i, d * b * (s + silu * (1.0f - s)), n - i);
    v_str(du + i, d * silu, n - i);
  }
}

static void k_adamw(float *p, float *m, float *v, const float *grad, uint16_t *bf16, size_t n, const agrl_adamw *a) {
  const float r1 = 1.0f / a->bc1, r2 = 1.0f / a->bc2, keep = 1.0f - a->lr * a->wd;
  for (size_t i = 0; i < n; i += VL) {
    size_t left = n - i;
    vf g = v_ldr(grad + i, left) * a->gscale;
    vf m1 = v_fma(v_ldr(m + i, left), v_set(a->beta1), g * (1.0f - a->beta1));
    vf v1 = v_fma(v_ldr(v + i, left), v_set(a->beta2), g * g * (1.0f - a->beta2));
    vf step = m1 * r1 / (v_sqrt(v1 * r2) + a->eps);
    vf p1 = v_fma(v_ldr(p + i, left), v_set(keep), step * -a->lr);
    v_str(m + i, m1, left);
    v_str(v + i, v1, left);
    v_str(p + i, p1, left);
    if (bf16) v_sth(bf16 + i, v_narrow(v_bf16_bits(p1)), left);
  }
}

#endif
