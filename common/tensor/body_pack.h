// SPDX-License-Identifier: Apache-2.0
// Kernel bodies that bring matrices into the words of the bf16 products: packing weights, rounding rows. Included once
// by each kernels_<isa>.c.
#ifndef AGRL_TENSOR_BODY_PACK_H
#define AGRL_TENSOR_BODY_PACK_H

#include "common/tensor/kernels.h"
#include "common/tensor/vec.h"
#include "common/tensor/vec_shuffle.h"

enum { PACK_P = AGRL_LINEAR_PANEL };

VINLINE uint32_t pack_word(const uint16_t *w, size_t I, size_t k) {
  return (uint32_t)w[k] | (k + 1 < I ? (uint32_t)w[k + 1] << 16 : 0);
}

// A panel is PACK_P rows of w turned on their side, a word an element: blocks of VL x VL through registers.
static void k_pack_fwd(uint32_t *dst, const uint16_t *w, size_t O, size_t I, size_t p0, size_t p1) {
  const size_t pairs = (I + 1) / 2;
  for (size_t o = p0 * PACK_P; o < p1 * PACK_P; o += VL) {
    uint32_t *to = dst + o / PACK_P * PACK_P * pairs + o % PACK_P;
    const size_t rows = o < O ? O - o : 0;
    size_t k = 0;
    for (; rows >= VL && 2 * (k + VL) <= I; k += VL) {
      vf block[VL];
#pragma GCC unroll 16
      for (size_t r = 0; r < VL; r++) block[r] = (vf)v_ldu(w + (o + r) * I + 2 * k);
      v_transpose(block);
#pragma GCC unroll 16
      for (size_t r = 0; r < VL; r++) v_st((float *)(void *)(to + (k + r) * PACK_P), block[r]);
    }
    for (; k < pairs; k++)
      for (size_t r = 0; r < VL; r++) to[k * PACK_P + r] = r < rows ? pack_word(w + (o + r) * I, I, 2 * k) : 0;
  }
}

VINLINE vu pack_halves(const uint16_t *p, size_t left) {
  vh h = {0};
  memcpy(&h, p, left < VL ? left * 2 : sizeof h);
  return __builtin_convertvector(h, vu);
}

static void k_pack_bwd(uint32_t *dst, const uint16_t *w, size_t O, size_t I, size_t p0, size_t p1) {
  const size_t pairs = (O + 1) / 2;
  for (size_t i = p0 * PACK_P; i < p1 * PACK_P; i += PACK_P) {
    uint32_t *to = dst + i * pairs;
    for (size_t k = 0; k < pairs; k++) {
      const uint16_t *even = w + 2 * k * I, *odd = even + I;
      for (size_t c = i; c < i + PACK_P; c += VL, to += VL) {
        vu v = {0};
        if (c + VL <= I) {
          v = pack_halves(even + c, VL);
          if (2 * k + 1 < O) v |= pack_halves(odd + c, VL) << 16;
        } else if (c < I) {
          v = pack_halves(even + c, I - c);
          if (2 * k + 1 < O) v |= pack_halves(odd + c, I - c) << 16;
        }
        memcpy(to, &v, sizeof v);
      }
    }
  }
}

// Row pairs [p0, p1) of src: bf16 rows, token pairs, or both (NULL: not wanted).
static void k_round_rows(uint16_t *rows, uint32_t *words, const float *src, size_t M, size_t I, size_t p0, size_t p1) {
  const size_t ld = agrl_bf16_stride(I), pairs = (M + 1) / 2;
  for (size_t p = p0; p < p1; p++) {
    const bool two = 2 * p + 1 < M;
    const float *a = src + 2 * p * I, *b = a + (two ? I : 0);
    uint16_t *ra = rows ? rows + 2 * p * ld : NULL, *rb = rows ? ra + ld : NULL;
    for (size_t i = 0; i < I; i += VL) {
      const size_t left = I - i;
      const vu va = v_bf16_bits(v_ldr(a + i, left)), vb = two ? v_bf16_bits(v_ldr(b + i, left)) : (vu){0};
      if (rows) {
        v_sth(ra + i, v_narrow(va), left);
        if (two) v_sth(rb + i, v_narrow(vb), left);
      }
      if (words) {
        const vu both = (va >> 16) | vb;
        memcpy(words + (i / PACK_P * pairs + p) * PACK_P + i % PACK_P, &both, sizeof both);
      }
    }
    if (rows && ld > I) {
      ra[I] = 0;
      if (two) rb[I] = 0;
    }
  }
}

#endif
