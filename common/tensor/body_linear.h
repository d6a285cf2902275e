// SPDX-License-Identifier: Apache-2.0
// Kernel bodies of the bf16 products defined in tensor.h. Included once by each kernels_<isa>.c.
//
// One tile does everything: mr rows by nv vectors of outputs, its sums in registers over a block of pairs. A lane is an
// output, so a pair of the row is broadcast and multiplies nv vectors of weight words; nothing is folded. With
// vdpbf16ps a pair is one instruction; otherwise a word is two f32 (the even element is the word shifted left, the odd
// one the word with its low half cleared) and the rows of the block are widened to f32 beforehand.
//
// Rows of a product lie as [row][pair], those of a weight gradient (packed dy) as [pair][64 rows]: the strides are
// arguments that become constants where the tile is inlined. A panel of 64 outputs is one stream of memory that the
// hardware's prefetcher follows; while later tiles of rows use it from L2, they fetch the next panel.
#ifndef AGRL_TENSOR_BODY_LINEAR_H
#define AGRL_TENSOR_BODY_LINEAR_H

#include "common/tensor/kernels.h"
#include "common/tensor/vec.h"

#if VL == 16 && defined(__AVX512BF16__)
#define LIN_DOT 1
#define LIN_MR 6
#define LIN_NV 4
typedef uint32_t lin_x;  // pairs, as they are
#else
#define LIN_DOT 0
#if VL == 16
#define LIN_MR 6
#define LIN_NV 4
#elif VL == 8
#define LIN_MR 6
#define LIN_NV 2
#elif defined(V_NEON)
#define LIN_MR 6
#define LIN_NV 4
#else
#define LIN_MR 4
#define LIN_NV 2
#endif
typedef float lin_x;  // widened
#endif

enum {
  LIN_P = AGRL_LINEAR_PANEL,
  LIN_KB = LIN_DOT ? 1536 : 512,     // pairs of a block of the reduction, at most
  LIN_XB = LIN_DOT ? 128 << 10 : 32 << 10,  // pairs of a block of rows, at most: they stay in L2
  LIN_TB = 256,                      // pairs of a block of tokens in a weight gradient
  LIN_GROUP = 16                     // rows of a weight gradient that share cache lines
};

typedef struct lin_tile {
  float *y;
  size_t ldy, cols;   // row stride, columns of y that exist
  const lin_x *x;
  const uint32_t *w;  // at the first output of the tile
  size_t pairs;
  const float *from;     // what sums start from, NULL: 0; row m at from + m * ld_from
  size_t ld_from;
  const uint32_t *next;  // panel to fetch into L2 meanwhile, 64 bytes a pair; NULL: none
} lin_tile;

// Strides of x in elements: between rows, between pairs, from even to odd (used by the widened form only).
VINLINE void linear_tile(const lin_tile *t, int mr, int nv, size_t row, size_t pair, size_t odd, bool full) {
  vf acc[LIN_MR][LIN_NV];
  size_t left = t->cols;
#pragma GCC unroll 8
  for (int m = 0; m < mr; m++) {
#pragma GCC unroll 8
    for (int n = 0; n < nv; n++) {
      const size_t at = (size_t)n * VL, have = full ? VL : left > at ? left - at : 0;
      acc[m][n] = t->from ? v_ldr(t->from + (size_t)m * t->ld_from + at, have) : (vf){0};
    }
  }
  const lin_x *x = t->x;
  const uint32_t *w = t->w, *next = t->next;
  for (size_t k = 0; k < t->pairs; k++, x += pair, w += LIN_P) {
    if (next) __builtin_prefetch(next + k * LIN_P, 0, 2);
#if LIN_DOT
    __m512bh wv[LIN_NV];
#pragma GCC unroll 8
    for (int n = 0; n < nv; n++) wv[n] = (__m512bh)v_ldu(w + n * VL);
#pragma GCC unroll 8
    for (int m = 0; m < mr; m++) {
      const __m512bh xv = (__m512bh)_mm512_set1_epi32((int)x[(size_t)m * row]);
#pragma GCC unroll 8
      for (int n = 0; n < nv; n++) acc[m][n] = (vf)_mm512_dpbf16_ps((__m512)acc[m][n], xv, wv[n]);
    }
#else
#pragma GCC unroll 2
    for (int o = 0; o < 2; o++) {
      vf wv[LIN_NV];
#pragma GCC unroll 8
      for (int n = 0; n < nv; n++) wv[n] = o ? (vf)(v_ldu(w + n * VL) & 0xffff0000u) : (vf)(v_ldu(w + n * VL) << 16);
#pragma GCC unroll 8
      for (int m = 0; m < mr; m++) {
        const vf xv = v_set(x[(size_t)m * row + (o ? odd : 0)]);
#pragma GCC unroll 8
        for (int n = 0; n < nv; n++) acc[m][n] = v_fma(xv, wv[n], acc[m][n]);
      }
    }
#endif
  }
#pragma GCC unroll 8
  for (int m = 0; m < mr; m++) {
#pragma GCC unroll 8
    for (int n = 0; n < nv; n++) {
      const size_t at = (size_t)n * VL;
      if (full) v_st(t->y + (size_t)m * t->ldy + at, acc[m][n]);
      else if (left > at) v_str(t->y + (size_t)m * t->ldy + at, acc[m][n], left - at);
    }
  }
}

VINLINE void linear_tile_rows(const lin_tile *t, size_t mr, int nv, size_t row, size_t pair, size_t odd) {
  const bool full = t->cols >= (size_t)nv * VL;
#define LIN_ROWS(n)                                      \
  case n:                                                \
    if (full) linear_tile(t, n, nv, row, pair, odd, true); \
    else linear_tile(t, n, nv, row, pair, odd, false);   \
    break;
  switch (mr) {
    LIN_ROWS(1)
    LIN_ROWS(2)
    LIN_ROWS(3)
    LIN_ROWS(4)
#if LIN_MR > 4
    LIN_ROWS(5)
    LIN_ROWS(6)
#endif
  }
#undef LIN_ROWS
}

#if LIN_DOT
static void linear_rows(const lin_tile *t, size_t mr, int nv, size_t row) {
  if (nv == LIN_NV) linear_tile_rows(t, mr, LIN_NV, row, 1, 0);
  else linear_tile_rows(t, mr, LIN_NV / 2, row, 1, 0);
}
static void grad_rows(const lin_tile *t, size_t mr, int nv) {
  if (nv == LIN_NV) linear_tile_rows(t, mr, LIN_NV, 1, LIN_P, 0);
  else linear_tile_rows(t, mr, LIN_NV / 2, 1, LIN_P, 0);
}
#else
static void linear_rows(const lin_tile *t, size_t mr, int nv, size_t row) {
  if (nv == LIN_NV) linear_tile_rows(t, mr, LIN_NV, row, 2, 1);
  else linear_tile_rows(t, mr, LIN_NV / 2, row, 2, 1);
}
static void grad_rows(const lin_tile *t, size_t mr, int nv) {
  if (nv == LIN_NV) linear_tile_rows(t, mr, LIN_NV, 1, 2 * LIN_GROUP, LIN_GROUP);
  else linear_tile_rows(t, mr, LIN_NV / 2, 1, 2 * LIN_GROUP, LIN_GROUP);
}
#endif

// Vectors of the tile at output o (a multiple of 32) of a range that ends at end: half as many where a whole tile would
// leave its panel or the range.
VINLINE int linear_vectors(size_t o, size_t end) {
  return LIN_NV * VL <= 32 || (o % LIN_P == 0 && end - o > 32) ? LIN_NV : LIN_NV / 2;
}

// Even blocks of at most most.
VINLINE size_t linear_block(size_t n, size_t most) {
  const size_t blocks = (n + most - 1) / most;
  return blocks ? (n + blocks - 1) / blocks : 1;
}

static void k_linear(const agrl_linear_args *a, size_t m0, size_t m1, size_t o0, size_t o1) {
  const size_t pairs = (a->I + 1) / 2, kb = linear_block(pairs, LIN_KB), mb = LIN_XB / kb;
#if !LIN_DOT
  float wide[2 * LIN_XB] __attribute__((aligned(64)));
#endif
  for (size_t m = m0; m < m1; m += mb) {
    const size_t rows = m1 - m < mb ? m1 - m : mb, tiles = (rows + LIN_MR - 1) / LIN_MR;
    for (size_t k = 0; k < pairs; k += kb) {
      const size_t kc = pairs - k < kb ? pairs - k : kb;
      lin_tile t = {.ldy = a->O, .pairs = kc, .ld_from = k > 0 ? a->O : a->ld_from};
#if LIN_DOT
      const size_t ldx = pairs;
      const uint32_t *x = a->x + m * pairs + k;
#else
      const size_t ldx = 2 * kc;
      const float *x = wide;
      for (size_t r = 0; r < rows; r++)
        k_f32_from_bf16(wide + r * ldx, (const uint16_t *)(const void *)(a->x + (m + r) * pairs + k), ldx);
#endif
      for (size_t o = o0, step; o < o1; o += step) {
        const int nv = linear_vectors(o, o1);
        step = (size_t)nv * VL;
        t.w = a->w + (o / LIN_P * pairs + k) * LIN_P + o % LIN_P;
        t.cols = a->O - o;
        const float *from = k > 0 ? a->y : a->from;
        for (size_t i = 0, r = 0, mr; i < tiles; i++, r += mr) {
          mr = rows / tiles + (i < rows % tiles);
          t.y = a->y + (m + r) * a->O + o;
          t.from = from ? from + (m + r) * t.ld_from + o : NULL;
          t.x = x + r * ldx;
          // The next panel is fetched a quarter (a line of its four) in each of up to four tiles.
          t.next = i > 0 && i <= 4 && o + LIN_P < o1 ? t.w + pairs * LIN_P + (i - 1) * 16 : NULL;
          linear_rows(&t, mr, nv, ldx);
        }
      }
    }
  }
}

// Rows [o0, o1) of dW, o0 a multiple of LIN_GROUP.
static void k_weight_grad(const agrl_grad_args *a, size_t o0, size_t o1) {
  const size_t pairs = (a->T + 1) / 2, kb = linear_block(pairs, LIN_TB);
#if !LIN_DOT
  float wide[2 * LIN_TB * LIN_GROUP] __attribute__((aligned(64)));
#endif
  for (size_t k = 0; k < pairs; k += kb) {
    const size_t kc = pairs - k < kb ? pairs - k : kb;
    lin_tile t = {.ldy = a->I, .ld_from = a->I, .pairs = kc};
    for (size_t i = 0, step; i < a->I; i += step) {
      const int nv = linear_vectors(i, a->I);
      step = (size_t)nv * VL;
      t.w = a->x + (i / LIN_P * pairs + k) * LIN_P + i % LIN_P;
      t.cols = a->I - i;
      for (size_t o = o0; o < o1; o += LIN_GROUP) {
        const size_t rows = o1 - o < LIN_GROUP ? o1 - o : LIN_GROUP, tiles = (rows + LIN_MR - 1) / LIN_MR;
        const uint32_t *dy = a->dy + (o / LIN_P * pairs + k) * LIN_P + o % LIN_P;
#if LIN_DOT
        const uint32_t *x = dy;
#else
        const float *x = wide;
        for (size_t p = 0; p < kc; p++) {
          for (size_t r = 0; r < LIN_GROUP; r += VL) {
            const vu v = v_ldu(dy + p * LIN_P + r);
            v_st(wide + 2 * p * LIN_GROUP + r, (vf)(v << 16));
            v_st(wide + (2 * p + 1) * LIN_GROUP + r, (vf)(v & 0xffff0000u));
          }
        }
#endif
        for (size_t j = 0, r = 0, mr; j < tiles; j++, r += mr) {
          mr = rows / tiles + (j < rows % tiles);
          t.from = t.y = a->dW + (o + r) * a->I + i;
          t.x = x + r;
          grad_rows(&t, mr, nv);
        }
      }
    }
  }
}

#endif
