// SPDX-License-Identifier: Apache-2.0
// Movements across the lanes of vec.h's vectors: folding many sums at once, the largest lane, transposing a square
// block.
#ifndef AGRL_TENSOR_VEC_SHUFFLE_H
#define AGRL_TENSOR_VEC_SHUFFLE_H

#include "common/tensor/vec.h"

#define V_SHUF __builtin_shufflevector

// Pairwise folding of vectors: v_fold<s> adds the halves named by stage s of a and of b and keeps both sums in one
// vector. log2(VL) stages reduce VL vectors to one whose lane i is the total of vector i. Each total is summed in the
// same order however many vectors take part, which is what makes the tiles built on it interchangeable bit by bit.
#if VL == 16
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
#if VL == 16
  a = v_max(a, V_SHUF(a, a, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  a = v_max(a, V_SHUF(a, a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
  a = v_max(a, V_SHUF(a, a, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
  a = v_max(a, V_SHUF(a, a, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
#elif VL == 8
  a = v_max(a, V_SHUF(a, a, 4, 5, 6, 7, 0, 1, 2, 3));
  a = v_max(a, V_SHUF(a, a, 2, 3, 0, 1, 6, 7, 4, 5));
  a = v_max(a, V_SHUF(a, a, 1, 0, 3, 2, 5, 4, 7, 6));
#else
  a = v_max(a, V_SHUF(a, a, 2, 3, 0, 1));
  a = v_max(a, V_SHUF(a, a, 1, 0, 3, 2));
#endif
  return a[0];
}

// Transposes a VL x VL block in registers: log2(VL) rounds, each swapping off-diagonal blocks of b x b elements.
#if VL == 16
#define V_SWAP1_LO 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define V_SWAP1_HI 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define V_SWAP2_LO 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define V_SWAP2_HI 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define V_SWAP4_LO 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define V_SWAP4_HI 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define V_SWAP8_LO 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define V_SWAP8_HI 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#elif VL == 8
#define V_SWAP1_LO 0, 8, 2, 10, 4, 12, 6, 14
#define V_SWAP1_HI 1, 9, 3, 11, 5, 13, 7, 15
#define V_SWAP2_LO 0, 1, 8, 9, 4, 5, 12, 13
#define V_SWAP2_HI 2, 3, 10, 11, 6, 7, 14, 15
#define V_SWAP4_LO 0, 1, 2, 3, 8, 9, 10, 11
#define V_SWAP4_HI 4, 5, 6, 7, 12, 13, 14, 15
#else
#define V_SWAP1_LO 0, 4, 2, 6
#define V_SWAP1_HI 1, 5, 3, 7
#define V_SWAP2_LO 0, 1, 4, 5
#define V_SWAP2_HI 2, 3, 6, 7
#endif
#define V_SWAP_ROUND(r, b)                                     \
  _Pragma("GCC unroll 16") for (int i = 0; i < VL; i++) {      \
    if (i & b) continue;                                       \
    vf lo = r[i], hi = r[i + b];                               \
    r[i] = V_SHUF(lo, hi, V_SWAP##b##_LO);                     \
    r[i + b] = V_SHUF(lo, hi, V_SWAP##b##_HI);                 \
  }
VINLINE void v_transpose(vf *r) {
  V_SWAP_ROUND(r, 1)
  V_SWAP_ROUND(r, 2)
#if VL >= 8
  V_SWAP_ROUND(r, 4)
#endif
#if VL >= 16
  V_SWAP_ROUND(r, 8)
#endif
}

#endif
