// SPDX-License-Identifier: Apache-2.0
// Kernel body of y(M,O) = x(M,I) w(O,I)^T with bf16 weights and f32 activations. Included once by each kernels_<isa>.c.
//
// A bf16 pair is one 32-bit word: the odd element is the word with its low half cleared, the even one the word shifted
// left. So x is packed, per block of LIN_MB rows, with even and odd elements apart, and weights widen at one operation
// per vector and exactly (f32 products, no rounding of activations). A tile keeps MR x NR sums of VL lanes in
// registers; with few rows it widens weights as it reads them, with many it first widens a panel of NR outputs into L1.
//
// Batch invariance: the sum of an output runs over blocks of I (a partition that depends on I only), inside one over
// words in order, lane by lane, and the lanes are folded by v_totals: none of this depends on M, on the tile or on the
// path.
#ifndef AGRL_TENSOR_BODY_LINEAR_H
#define AGRL_TENSOR_BODY_LINEAR_H

#include "common/tensor/kernels.h"
#include "common/tensor/vec.h"
#include "common/tensor/vec_shuffle.h"

#if VL == 16
#define LIN_MR 4
#define LIN_NR 6
#elif VL == 8
#define LIN_MR 3
#define LIN_NR 4
#else
#define LIN_MR 2
#define LIN_NR 4
#endif
#define LIN_CH (2 * VL)    // elements of I in a chunk: VL words
#define LIN_KB 1024        // elements of I in a block, at most
#define LIN_MB 32          // rows packed at a time
#define LIN_PANEL_MIN 12   // rows from which a widened panel pays

// Rows m of x, elements [k0, k0+kc): evens and odds apart per chunk, zero padded to whole chunks.
VINLINE void linear_pack_x(float *dst, const float *x, size_t I, size_t rows, size_t k0, size_t kc, size_t chunks) {
  for (size_t m = 0; m < rows; m++, x += I) {
    for (size_t c = 0; c < chunks; c++, dst += LIN_CH) {
      const float *s = x + k0 + c * LIN_CH;
      float tmp[LIN_CH];
      size_t left = kc - c * LIN_CH;
      if (left < LIN_CH) {
        memset(tmp, 0, sizeof tmp);
        memcpy(tmp, s, left * sizeof *s);
        s = tmp;
      }
      vf a = v_ld(s), b = v_ld(s + VL);
#if VL == 16
      v_st(dst, V_SHUF(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30));
      v_st(dst + VL, V_SHUF(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
#elif VL == 8
      v_st(dst, V_SHUF(a, b, 0, 2, 4, 6, 8, 10, 12, 14));
      v_st(dst + VL, V_SHUF(a, b, 1, 3, 5, 7, 9, 11, 13, 15));
#else
      v_st(dst, V_SHUF(a, b, 0, 2, 4, 6));
      v_st(dst + VL, V_SHUF(a, b, 1, 3, 5, 7));
#endif
    }
  }
}

VINLINE vu linear_words(const uint16_t *w, size_t left) {
  vu v = {0};
  if (left >= LIN_CH) return v_ldu(w);
  memcpy(&v, w, left * 2);
  return v;
}
VINLINE vf linear_even(vu w) { return (vf)(w << 16); }
VINLINE vf linear_odd(vu w) { return (vf)(w & 0xffff0000u); }

// Widens NR rows of weights, interleaved by chunk: (chunks, NR, [evens, odds]). ahead: distance to the next NR rows,
// which are fetched meanwhile (rows are too short for the hardware prefetcher).
VINLINE void linear_widen(float *panel, const uint16_t *const *w, size_t kc, size_t chunks, size_t ahead) {
  for (size_t c = 0; c < chunks; c++) {
    for (int n = 0; n < LIN_NR; n++, panel += LIN_CH) {
      vu v = linear_words(w[n] + c * LIN_CH, kc - c * LIN_CH);
      __builtin_prefetch(w[n] + c * LIN_CH + ahead);
      v_st(panel, linear_even(v));
      v_st(panel + VL, linear_odd(v));
    }
  }
}

// Adds chunk c to the sums; weights from the panel if there is one, else from w with left elements to go.
VINLINE void linear_step(vf acc[LIN_MR][LIN_NR], int mr, const float *x, size_t ldx, const float *panel,
                         const uint16_t *const *w, size_t c, size_t left, size_t ahead) {
#pragma GCC unroll 2
  for (int odd = 0; odd < 2; odd++) {
    vf xv[LIN_MR];
#pragma GCC unroll 8
    for (int m = 0; m < mr; m++) xv[m] = v_ld(x + (size_t)m * ldx + c * LIN_CH + (odd ? VL : 0));
#pragma GCC unroll 8
    for (int n = 0; n < LIN_NR; n++) {
      vf wv;
      if (panel) {
        wv = v_ld(panel + (c * LIN_NR + (size_t)n) * LIN_CH + (odd ? VL : 0));
      } else {
        vu v = linear_words(w[n] + c * LIN_CH, left);
        if (!odd) __builtin_prefetch(w[n] + c * LIN_CH + ahead);
        wv = odd ? linear_odd(v) : linear_even(v);
      }
#pragma GCC unroll 8
      for (int m = 0; m < mr; m++) acc[m][n] = v_fma(xv[m], wv, acc[m][n]);
    }
  }
}

// out(mr, NR) = the tile's sums over one block of I.
VINLINE void linear_tile(float *out, int mr, const float *x, size_t ldx, const float *panel, const uint16_t *const *w,
                         size_t kc, size_t chunks, size_t ahead) {
  vf acc[LIN_MR][LIN_NR] = {{{0}}};
  size_t full = kc / LIN_CH, c = 0;
  if (panel) full = chunks;
  for (; c < full; c++) linear_step(acc, mr, x, ldx, panel, w, c, LIN_CH, ahead);
  if (c < chunks) linear_step(acc, mr, x, ldx, panel, w, c, kc - c * LIN_CH, ahead);
  vf group[VL];
#pragma GCC unroll 8
  for (int g = 0; g < mr * LIN_NR; g += VL) {
    int n = mr * LIN_NR - g < VL ? mr * LIN_NR - g : VL, pow2 = n > 8 ? 16 : n > 4 ? 8 : 4;
#pragma GCC unroll 16
    for (int i = 0; i < VL; i++) group[i] = i < n ? acc[(g + i) / LIN_NR][(g + i) % LIN_NR] : (vf){0};
    v_st(out + g, v_totals(group, pow2));
  }
}

static void linear_tile_of(float *out, size_t mr, const float *x, size_t ldx, const float *panel,
                           const uint16_t *const *w, size_t kc, size_t chunks, size_t ahead) {
  if (panel) {
    if (mr == LIN_MR) linear_tile(out, LIN_MR, x, ldx, panel, NULL, kc, chunks, 0);
    else
      for (size_t m = 0; m < mr; m++) linear_tile(out + m * LIN_NR, 1, x + m * ldx, ldx, panel, NULL, kc, chunks, 0);
  } else if (mr == 1) {
    linear_tile(out, 1, x, ldx, NULL, w, kc, chunks, ahead);
  } else if (mr == 2) {
    linear_tile(out, 2, x, ldx, NULL, w, kc, chunks, ahead);
#if LIN_MR >= 3
  } else if (mr == 3) {
    linear_tile(out, 3, x, ldx, NULL, w, kc, chunks, ahead);
#endif
#if LIN_MR >= 4
  } else if (mr == 4) {
    linear_tile(out, 4, x, ldx, NULL, w, kc, chunks, ahead);
#endif
  }
}

// A tile's sums join y: added after the first block of I, otherwise stored with the bias.
VINLINE void linear_store_row(float *y, const float *s, size_t cols, int add, const float *bias) {
  if (add) {
    for (size_t n = 0; n < cols; n++) y[n] += s[n];
  } else if (bias) {
    for (size_t n = 0; n < cols; n++) y[n] = bias[n] + s[n];
  } else {
    for (size_t n = 0; n < cols; n++) y[n] = s[n];
  }
}
static void linear_store(float *y, size_t ldy, const float *out, size_t mr, size_t cols, int add, const float *bias) {
  for (size_t r = 0; r < mr; r++, y += ldy, out += LIN_NR) {
    if (cols == LIN_NR) linear_store_row(y, out, LIN_NR, add, bias);
    else linear_store_row(y, out, cols, add, bias);
  }
}

static void k_linear(const agrl_linear_args *a, size_t o0, size_t o1) {
  float xp[LIN_MB * LIN_KB] __attribute__((aligned(64)));
  float panel[LIN_NR * LIN_KB] __attribute__((aligned(64)));
  float out[LIN_MR * LIN_NR + VL] __attribute__((aligned(64)));
  size_t blocks = (a->I + LIN_KB - 1) / LIN_KB, kb = 0;
  if (blocks) kb = ((a->I + blocks - 1) / blocks + LIN_CH - 1) / LIN_CH * LIN_CH;
  for (size_t m0 = 0; m0 < a->M; m0 += LIN_MB) {
    size_t rows = a->M - m0 < LIN_MB ? a->M - m0 : LIN_MB;
    for (size_t k0 = 0; k0 < a->I; k0 += kb) {
      size_t kc = a->I - k0 < kb ? a->I - k0 : kb, chunks = (kc + LIN_CH - 1) / LIN_CH, ldx = chunks * LIN_CH;
      linear_pack_x(xp, a->x + m0 * a->I, a->I, rows, k0, kc, chunks);
      for (size_t o = o0; o < o1; o += LIN_NR) {
        const uint16_t *w[LIN_NR];
        size_t cols = o1 - o < LIN_NR ? o1 - o : LIN_NR;
        for (size_t n = 0; n < LIN_NR; n++) w[n] = a->w + (o + (n < cols ? n : cols - 1)) * a->I + k0;
        if (rows >= LIN_PANEL_MIN) linear_widen(panel, w, kc, chunks, LIN_NR * a->I);
        for (size_t m = 0; m < rows; m += LIN_MR) {
          size_t mr = rows - m < LIN_MR ? rows - m : LIN_MR;
          linear_tile_of(out, mr, xp + m * ldx, ldx, rows >= LIN_PANEL_MIN ? panel : NULL, w, kc, chunks,
                         LIN_NR * a->I);
          linear_store(a->y + (m0 + m) * a->O + o, a->O, out, mr, cols, k0 > 0, a->bias ? a->bias + o : NULL);
        }
      }
    }
  }
}

#endif
