// SPDX-License-Identifier: Apache-2.0
// Kernel bodies over rows: RMSNorm, rotary embedding, log-softmax pieces. Included once by each kernels_<isa>.c.
#ifndef AGRL_TENSOR_BODY_ROWS_H
#define AGRL_TENSOR_BODY_ROWS_H

#include "common/tensor/kernels.h"
#include "common/tensor/vec.h"
#include "common/tensor/vec_shuffle.h"

static float row_sumsq(const float *x, size_t D) {
  vf s0 = {0}, s1 = {0};
  size_t i = 0;
  for (; i + 2 * VL <= D; i += 2 * VL) {
    vf a = v_ld(x + i), b = v_ld(x + i + VL);
    s0 = v_fma(a, a, s0);
    s1 = v_fma(b, b, s1);
  }
  for (; i < D; i += VL) {
    vf a = v_ldr(x + i, D - i);
    s0 = v_fma(a, a, s0);
  }
  return v_total(s0 + s1);
}

static void k_rmsnorm(float *y, float *rstd, const float *x, const float *w, size_t M, size_t D, float eps) {
  for (size_t m = 0; m < M; m++, x += D, y += D) {
    float r = 1.0f / sqrtf(row_sumsq(x, D) / (float)D + eps);
    if (rstd) rstd[m] = r;
    for (size_t i = 0; i < D; i += VL) v_str(y + i, v_ldr(x + i, D - i) * r * v_ldr(w + i, D - i), D - i);
  }
}

static void k_rmsnorm_dx(float *dx, const float *dy, const float *x, const float *w, const float *rstd, size_t M,
                         size_t D) {
  for (size_t m = 0; m < M; m++, x += D, dy += D, dx += D) {
    vf s = {0};
    for (size_t i = 0; i < D; i += VL)
      s = v_fma(v_ldr(dy + i, D - i) * v_ldr(w + i, D - i), v_ldr(x + i, D - i), s);
    float r = rstd[m], c = v_total(s) * r * r * r / (float)D;
    for (size_t i = 0; i < D; i += VL) {
      vf g = v_ldr(dy + i, D - i) * v_ldr(w + i, D - i) * r - v_ldr(x + i, D - i) * c;
      v_str(dx + i, v_ldr(dx + i, D - i) + g, D - i);
    }
  }
}

// Columns [c0, c1) of dw += sum over rows of dy * x * rstd, in blocks of 64 rows.
static void k_rmsnorm_dw(float *dw, const float *dy, const float *x, const float *rstd, size_t M, size_t D, size_t c0,
                         size_t c1) {
  for (size_t c = c0; c < c1; c += VL) {
    vf total = {0};
    for (size_t b = 0; b < M; b += 64) {
      vf s = {0};
      for (size_t m = b; m < M && m < b + 64; m++)
        s = v_fma(v_ldr(dy + m * D + c, c1 - c), v_ldr(x + m * D + c, c1 - c) * rstd[m], s);
      total += s;
    }
    v_str(dw + c, v_ldr(dw + c, c1 - c) + total, c1 - c);
  }
}

static void k_rope(float *x, const int32_t *pos, const float *cos_sin, size_t M, size_t n_heads, size_t head_dim,
                   int dir) {
  size_t half = head_dim / 2;
  float sign = dir < 0 ? -1.0f : 1.0f;
  for (size_t m = 0; m < M; m++) {
    const float *cs = cos_sin + (size_t)pos[m] * head_dim;
    for (size_t h = 0; h < n_heads; h++, x += head_dim) {
      for (size_t i = 0; i < half; i += VL) {
        size_t left = half - i;
        vf c = v_ldr(cs + i, left), s = v_ldr(cs + half + i, left) * sign;
        vf a = v_ldr(x + i, left), b = v_ldr(x + half + i, left);
        v_str(x + i, v_fma(a, c, -(b * s)), left);
        v_str(x + half + i, v_fma(b, c, a * s), left);
      }
    }
  }
}

static float row_max(const float *x, size_t n) {
  vf m0 = v_set(-INFINITY), m1 = m0;
  size_t i = 0;
  for (; i + 2 * VL <= n; i += 2 * VL) {
    m0 = v_max(m0, v_ld(x + i));
    m1 = v_max(m1, v_ld(x + i + VL));
  }
  float m = v_maximum(v_max(m0, m1));
  for (; i < n; i++) m = x[i] > m ? x[i] : m;
  return m;
}

static void k_logsumexp(float *lse, const float *logits, size_t M, size_t V) {
  for (size_t m = 0; m < M; m++, logits += V) {
    float top = row_max(logits, V);
    vf s0 = {0}, s1 = {0};
    size_t i = 0;
    for (; i + 2 * VL <= V; i += 2 * VL) {
      s0 += v_exp(v_ld(logits + i) - top);
      s1 += v_exp(v_ld(logits + i + VL) - top);
    }
    float tail = 0;
    for (; i < V; i++) tail += v_exp(v_set(logits[i] - top))[0];
    lse[m] = top + logf(v_total(s0 + s1) + tail);
  }
}

// The sums of k_logsumexp, in the same order, and those of each block beside them.
static float k_softmax_blocks(float *sums, float *top_out, const float *logits, size_t V, float inv) {
  const float top = *top_out = row_max(logits, V);
  vf s0 = {0}, s1 = {0};
  float tail = 0;
  for (size_t i = 0, b = 0; i < V; b++) {
    const size_t end = V - i < AGRL_SOFTMAX_BLOCK ? V : i + AGRL_SOFTMAX_BLOCK;
    vf b0 = {0}, b1 = {0};
    for (; i + 2 * VL <= end; i += 2 * VL) {
      const vf p0 = v_exp((v_ld(logits + i) - top) * inv), p1 = v_exp((v_ld(logits + i + VL) - top) * inv);
      s0 += p0, b0 += p0;
      s1 += p1, b1 += p1;
    }
    float rest = 0;
    for (; i < end; i++) {
      const float p = v_exp(v_set((logits[i] - top) * inv))[0];
      rest += p, tail += p;
    }
    sums[b] = v_total(b0 + b1) + rest;
  }
  return top + logf(v_total(s0 + s1) + tail);
}

static void k_logp_bwd(float *logits, const float *lse, const int32_t *target, const float *dlogp, size_t M, size_t V) {
  for (size_t m = 0; m < M; m++, logits += V) {
    float d = target[m] < 0 ? 0.0f : dlogp[m];
    if (d == 0.0f) {
      memset(logits, 0, V * sizeof *logits);
      continue;
    }
    for (size_t i = 0; i < V; i += VL) v_str(logits + i, v_exp(v_ldr(logits + i, V - i) - lse[m]) * -d, V - i);
    logits[target[m]] += d;
  }
}

static void k_entropy(float *entropy, const float *logits, const float *lse, size_t M, size_t V) {
  for (size_t m = 0; m < M; m++, logits += V) {
    vf s = {0};
    for (size_t i = 0; i < V; i += VL) {
      vf z = v_ldr(logits + i, V - i) - lse[m];
      if (V - i < VL) {
        for (size_t j = V - i; j < VL; j++) z[j] = -INFINITY;
      }
      vf p = v_exp(z);
      s -= v_sel(p > 0.0f, p * z, (vf){0});  // p log p -> 0 where p is 0
    }
    entropy[m] = v_total(s);
  }
}

#endif
