// SPDX-License-Identifier: Apache-2.0
// Matrix products: the bf16 products of every instruction set against a double loop over the rounded inputs; bit by bit,
// that nothing depends on the batch, on threads or on where a reduction is cut; packing word by word. The three OpenBLAS
// forms against a double loop.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/tensor_check.h"

// Values as the kernels see them: rounded to bf16, and widened again.
static double *rounded(const float *x, size_t n) {
  uint16_t *h = agrl_xcalloc(n + 1, 2);
  float *f = agrl_xcalloc(n + 1, sizeof *f);
  agrl_bf16_from_f32(h, x, n);
  agrl_f32_from_bf16(f, h, n);
  double *d = tc_doubles(f, n);
  free(h), free(f);
  return d;
}

static uint16_t *rows_of(const float *x, size_t M, size_t I) {
  uint16_t *rows = agrl_xcalloc(M * agrl_bf16_stride(I) + 1, 2);
  memset(rows, 0xff, M * agrl_bf16_stride(I) * 2);  // NaN where nothing is written
  agrl_bf16_rows(NULL, rows, NULL, x, M, I);
  return rows;
}

static uint32_t *packed(const uint16_t *w, size_t O, size_t I) {
  uint32_t *p = aligned_alloc(64, agrl_packed_words(O, I) * 4 + 64);
  memset(p, 0xff, agrl_packed_words(O, I) * 4);
  agrl_pack_fwd(NULL, p, w, O, I);
  return p;
}

typedef struct layer {
  size_t M, I, O;
  float *x, *bias, *y, *again, *old;
  uint16_t *x16, *w;
  uint32_t *packed;
  double *want;  // without bias
} layer;

static void layer_init(layer *l, size_t M, size_t I, size_t O) {
  float *wide = tc_floats(O * I, 7, 0.5);
  *l = (layer){M, I, O, tc_floats(M * I, 5, 1.0), tc_floats(O, 6, 1.0), tc_filled(M * O, NAN), tc_filled(M * O, NAN),
               tc_floats(M * O, 8, 1.0), NULL, agrl_xcalloc(O * I + 1, 2), NULL, agrl_xcalloc(M * O + 1, sizeof(double))};
  agrl_bf16_from_f32(l->w, wide, O * I);
  l->x16 = rows_of(l->x, M, I);
  l->packed = packed(l->w, O, I);
  double *wd = rounded(wide, O * I), *xd = rounded(l->x, M * I);
  for (size_t m = 0; m < M; m++)
    for (size_t o = 0; o < O; o++)
      for (size_t i = 0; i < I; i++) l->want[m * O + o] += xd[m * I + i] * wd[o * I + i];
  free(wide), free(wd), free(xd);
}

static void layer_release(layer *l) {
  free(l->x), free(l->bias), free(l->y), free(l->again), free(l->old), free(l->x16), free(l->w), free(l->packed), free(l->want);
}

static void layer_run(const layer *l, agrl_pool *pool, float *y, const float *bias) {
  agrl_linear(pool, &(agrl_linear_out){y, l->packed, bias, NULL, l->O}, 1, l->x16, l->M, l->I);
}

static const size_t shapes[][3] = {{1, 576, 192}, {2, 64, 48},  {3, 33, 7},   {4, 31, 13},   {5, 1, 1},    {7, 100, 37},
                                   {8, 128, 50},  {9, 17, 65},  {11, 65, 25}, {12, 66, 96},  {13, 1025, 9}, {33, 40, 161},
                                   {64, 96, 101}, {70, 6001, 3}, {200, 34, 70}, {301, 2, 33}, {1, 64, 5000}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

// f32 sums of I products of unit size: the error grows with sqrt(I); 1e-6 * sqrt(I) holds with room. Exact inputs: the
// reference sums the rounded x.
static void linear_reference(void **state) {
  agrl_pool *two = agrl_pool_new(2), *three = agrl_pool_new(3);
  for (size_t s = 0; s < SHAPES; s++) {
    layer l;
    layer_init(&l, shapes[s][0], shapes[s][1], shapes[s][2]);
    size_t n = l.M * l.O;
    double *biased = agrl_xcalloc(n, sizeof *biased), *added = agrl_xcalloc(n, sizeof *added);
    for (size_t i = 0; i < n; i++) biased[i] = l.want[i] + (double)l.bias[i % l.O], added[i] = l.want[i] + (double)l.old[i];
    FOR_EACH_CPU(c) {
      layer_run(&l, NULL, l.y, l.bias);
      tc_near("linear", l.y, biased, n, 1e-6 * sqrt((double)l.I));
      layer_run(&l, two, l.again, l.bias);
      tc_same("linear, 2 threads", l.y, l.again, n * 4);
      layer_run(&l, three, l.again, l.bias);
      tc_same("linear, 3 threads", l.y, l.again, n * 4);
      agrl_linear(two, &(agrl_linear_out){l.y, l.packed, NULL, l.old, l.O}, 1, l.x16, l.M, l.I);
      tc_near("linear, added", l.y, added, n, 1e-6 * sqrt((double)l.I));
      memcpy(l.again, l.old, n * 4);
      agrl_linear(NULL, &(agrl_linear_out){l.again, l.packed, NULL, l.again, l.O}, 1, l.x16, l.M, l.I);
      tc_same("linear, added in place", l.y, l.again, n * 4);
    }
    free(biased), free(added);
    layer_release(&l);
  }
  agrl_pool_free(two);
  agrl_pool_free(three);
}

static void linear_batch_invariance(void **state) {
  static const size_t sizes[][2] = {{576, 192}, {1536, 67}, {67, 31}, {576, 960}};
  agrl_pool *two = agrl_pool_new(2);
  for (size_t s = 0; s < 4; s++) {
    layer l;
    layer_init(&l, 130, sizes[s][0], sizes[s][1]);
    FOR_EACH_CPU(c) {
      layer_run(&l, two, l.y, NULL);
      for (size_t M = 1; M <= 110; M += M < 40 ? 1 : 13) {  // rows from the middle, in batches of every size
        size_t from = 17 - M % 5;
        agrl_linear(two, &(agrl_linear_out){l.again, l.packed, NULL, NULL, l.O}, 1, l.x16 + from * agrl_bf16_stride(l.I), M, l.I);
        tc_same("linear, other batch", l.y + from * l.O, l.again, M * l.O * 4);
      }
    }
    layer_release(&l);
  }
  agrl_pool_free(two);
}

// The reduction in two calls, cut at an even element: the same bits, because a sum passes through y.
static void linear_cut_invariance(void **state) {
  enum { M = 9, I = 100, CUT = 38, O = 70 };
  layer l;
  layer_init(&l, M, I, O);
  uint16_t w[2][O * I], x[2][M * I];
  for (size_t o = 0; o < O; o++) {
    memcpy(w[0] + o * CUT, l.w + o * I, CUT * 2);
    memcpy(w[1] + o * (I - CUT), l.w + o * I + CUT, (I - CUT) * 2);
  }
  for (size_t m = 0; m < M; m++) {
    memcpy(x[0] + m * CUT, l.x16 + m * I, CUT * 2);
    memcpy(x[1] + m * (I - CUT), l.x16 + m * I + CUT, (I - CUT) * 2);
  }
  uint32_t *p[2] = {packed(w[0], O, CUT), packed(w[1], O, I - CUT)};
  FOR_EACH_CPU(c) {
    layer_run(&l, NULL, l.y, l.bias);
    agrl_linear(NULL, &(agrl_linear_out){l.again, p[0], l.bias, NULL, O}, 1, x[0], M, CUT);
    agrl_linear(NULL, &(agrl_linear_out){l.again, p[1], NULL, l.again, O}, 1, x[1], M, I - CUT);
    tc_same("linear, reduction cut", l.y, l.again, M * O * 4);
  }
  free(p[0]), free(p[1]);
  layer_release(&l);
}

// Several outputs in one call: each as if alone, however the call is cut over threads.
static void linear_several_outputs(void **state) {
  enum { M = 5, I = 160 };
  static const size_t O[3] = {576, 70, 200};
  layer l[3];
  agrl_pool *pools[] = {NULL, agrl_pool_new(2), agrl_pool_new(7)};
  for (size_t i = 0; i < 3; i++) layer_init(&l[i], M, I, O[i]);
  FOR_EACH_CPU(c) {
    for (size_t p = 0; p < 3; p++) {
      agrl_linear_out out[3];
      for (size_t i = 0; i < 3; i++) {
        layer_run(&l[i], NULL, l[i].y, i == 1 ? l[i].bias : NULL);
        memset(l[i].again, 0xff, M * O[i] * 4);
        out[i] = (agrl_linear_out){l[i].again, l[i].packed, i == 1 ? l[i].bias : NULL, NULL, O[i]};
      }
      agrl_linear(pools[p], out, 3, l[0].x16, M, I);  // the layers' x are equal
      for (size_t i = 0; i < 3; i++) tc_same("linear, three at once", l[i].y, l[i].again, M * O[i] * 4);
    }
  }
  for (size_t i = 0; i < 3; i++) layer_release(&l[i]);
  agrl_pool_free(pools[1]);
  agrl_pool_free(pools[2]);
}

static void linear_edges(void **state) {
  float y[6] = {9, 9, 9, 9, 9, 9}, bias[3] = {1, 2, 3}, xf[2] = {2, 3}, nan = NAN;
  uint16_t w[3] = {0x3f80, 0xc000, 0x7f80};  // 1, -2, inf
  uint16_t *x = rows_of(xf, 2, 1), *xnan = rows_of(&nan, 1, 1), tiny[2] = {0x0001, 0};
  uint32_t *p = packed(w, 3, 1);
  FOR_EACH_CPU(c) {
    agrl_linear(NULL, &(agrl_linear_out){y, p, NULL, NULL, 3}, 1, x, 0, 1);  // no rows: nothing written
    assert_true(y[0] == 9);
    agrl_linear(NULL, &(agrl_linear_out){y, p, bias, NULL, 3}, 1, x, 2, 0);  // an empty sum is the bias
    assert_true(y[0] == 1 && y[4] == 2 && y[5] == 3);
    agrl_linear(NULL, &(agrl_linear_out){y, p, NULL, y, 3}, 1, x, 2, 0);  // or what was there
    assert_true(y[0] == 1 && y[4] == 2 && y[5] == 3);
    agrl_linear(NULL, &(agrl_linear_out){y, p, bias, NULL, 3}, 1, x, 2, 1);
    assert_true(y[0] == 3 && y[1] == -2 && isinf(y[2]) && y[3] == 4 && y[4] == -4 && isinf(y[5]));
    agrl_linear(NULL, &(agrl_linear_out){y, p, NULL, NULL, 3}, 1, xnan, 1, 1);
    assert_true(isnan(y[0]) && isnan(y[1]) && isnan(y[2]));
    agrl_linear(NULL, &(agrl_linear_out){y, p, NULL, NULL, 2}, 1, tiny, 1, 1);  // the smallest subnormal
    assert_true(c == AGRL_CPU_AVX512BF16 ? y[0] == 0 && y[1] == 0 : y[0] > 0 && y[1] < 0);
    for (int i = 0; i < 6; i++) y[i] = 9;
  }
  free(x), free(xnan), free(p);
}

// Word of output o and pair k in a packed matrix.
static uint32_t word_at(const uint32_t *p, size_t reduction, size_t o, size_t k) {
  return p[(o / 64 * ((reduction + 1) / 2) + k) * 64 + o % 64];
}

static void packing(void **state) {
  agrl_pool *two = agrl_pool_new(2);
  for (size_t s = 0; s < SHAPES; s++) {
    const size_t O = shapes[s][0], I = shapes[s][1], up = (O + 63) / 64 * 64, down = (I + 63) / 64 * 64;
    uint16_t *w = agrl_xcalloc(O * I, 2), *rows = agrl_xcalloc(O * agrl_bf16_stride(I), 2);
    float *f = tc_floats(O * I, 3, 1);
    agrl_bf16_from_f32(w, f, O * I);
    FOR_EACH_CPU(c) {
      uint32_t *fwd = agrl_xcalloc(agrl_packed_words(O, I), 4), *bwd = agrl_xcalloc(agrl_packed_words(I, O), 4);
      uint32_t *pairs = agrl_xcalloc(agrl_packed_words(I, O), 4);
      memset(fwd, 0xff, agrl_packed_words(O, I) * 4);
      memset(bwd, 0xff, agrl_packed_words(I, O) * 4);
      memset(rows, 0xff, O * agrl_bf16_stride(I) * 2);
      agrl_pack_fwd(two, fwd, w, O, I);
      agrl_pack_bwd(two, bwd, w, O, I);
      agrl_bf16_rows(two, rows, pairs, f, O, I);
      for (size_t o = 0; o < up; o++)
        for (size_t k = 0; k < (I + 1) / 2; k++) {
          const uint32_t lo = o < O ? w[o * I + 2 * k] : 0, hi = o < O && 2 * k + 1 < I ? w[o * I + 2 * k + 1] : 0;
          assert_int_equal(word_at(fwd, I, o, k), lo | hi << 16);
        }
      for (size_t i = 0; i < down; i++)
        for (size_t k = 0; k < (O + 1) / 2; k++) {
          const uint32_t lo = i < I ? w[2 * k * I + i] : 0, hi = i < I && 2 * k + 1 < O ? w[(2 * k + 1) * I + i] : 0;
          assert_int_equal(word_at(bwd, O, i, k), lo | hi << 16);
          if (i < I) assert_int_equal(word_at(pairs, O, i, k), lo | hi << 16);
        }
      for (size_t o = 0; o < O; o++)
        for (size_t i = 0; i < agrl_bf16_stride(I); i++)
          assert_int_equal(rows[o * agrl_bf16_stride(I) + i], i < I ? w[o * I + i] : 0);
      free(fwd), free(bwd), free(pairs);
    }
    free(w), free(rows), free(f);
  }
  agrl_pool_free(two);
}

// dW += dy^T x, for token counts odd and even, any threads, and any cut of the tokens at an even one.
static void weight_gradient(void **state) {
  static const size_t sizes[][3] = {{1, 1, 1}, {2, 7, 33}, {3, 64, 64}, {17, 100, 48}, {64, 192, 130}, {1025, 19, 70}, {600, 70, 31}};
  agrl_pool *two = agrl_pool_new(2), *three = agrl_pool_new(3);
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    const size_t T = sizes[s][0], O = sizes[s][1], I = sizes[s][2], n = O * I, cut = T / 2 & ~(size_t)1;
    float *dy = tc_floats(T * O, 1, 1), *x = tc_floats(T * I, 2, 1), *old = tc_floats(n, 3, 1);
    float *dW = agrl_xcalloc(n, 4), *again = agrl_xcalloc(n, 4);
    double *dyd = rounded(dy, T * O), *xd = rounded(x, T * I), *want = tc_doubles(old, n);
    for (size_t t = 0; t < T; t++)
      for (size_t o = 0; o < O; o++)
        for (size_t i = 0; i < I; i++) want[o * I + i] += dyd[t * O + o] * xd[t * I + i];
    FOR_EACH_CPU(c) {
      uint32_t *dyp = agrl_xcalloc(agrl_packed_words(O, T), 4), *xp = agrl_xcalloc(agrl_packed_words(I, T), 4);
      memset(dyp, 0xff, agrl_packed_words(O, T) * 4);
      memset(xp, 0xff, agrl_packed_words(I, T) * 4);
      agrl_bf16_rows(NULL, NULL, dyp, dy, T, O);
      agrl_bf16_rows(NULL, NULL, xp, x, T, I);
      memcpy(dW, old, n * 4);
      agrl_weight_grad(NULL, dW, dyp, xp, T, O, I);
      tc_near("weight gradient", dW, want, n, 1e-6 * (1 + sqrt((double)T)));
      memcpy(again, old, n * 4);
      agrl_weight_grad(two, again, dyp, xp, T, O, I);
      tc_same("weight gradient, 2 threads", dW, again, n * 4);
      memcpy(again, old, n * 4);
      agrl_weight_grad(three, again, dyp, xp, T, O, I);
      tc_same("weight gradient, 3 threads", dW, again, n * 4);
      memcpy(again, old, n * 4);
      for (size_t part = 0, at = 0, t; part < 2; part++, at += t) {
        t = part == 0 ? cut : T - cut;
        agrl_bf16_rows(NULL, NULL, dyp, dy + at * O, t, O);
        agrl_bf16_rows(NULL, NULL, xp, x + at * I, t, I);
        agrl_weight_grad(two, again, dyp, xp, t, O, I);
      }
      tc_same("weight gradient, tokens cut", dW, again, n * 4);
      free(dyp), free(xp);
    }
    free(dy), free(x), free(old), free(dW), free(again), free(dyd), free(xd), free(want);
  }
  agrl_pool_free(two);
  agrl_pool_free(three);
}

static void gemm_forms(void **state) {
  static const size_t sizes[][3] = {{1, 1, 1}, {5, 3, 7}, {300, 70, 33}, {64, 530, 45}, {513, 257, 129}, {3, 4, 0}};
  agrl_pool *two = agrl_pool_new(2);
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    size_t M = sizes[s][0], N = sizes[s][1], K = sizes[s][2];
    float *a = tc_floats(M * K, 8, 1), *b = tc_floats(N * K, 9, 1), *c0 = tc_floats(M * N, 10, 1);
    float *c = agrl_xcalloc(M * N, 4), *c2 = agrl_xcalloc(M * N, 4);
    double *want = agrl_xcalloc(M * N, sizeof *want);
    for (int form = 0; form < 6; form++) {  // nt, nn, tn with beta 0 and 1
      float beta = form < 3 ? 0.0f : 1.0f;
      for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < N; n++) {
          double sum = beta != 0.0f ? (double)c0[m * N + n] : 0;
          for (size_t k = 0; k < K; k++)
            sum += (double)a[form % 3 == 2 ? k * M + m : m * K + k] * (double)b[form % 3 == 0 ? n * K + k : k * N + n];
          want[m * N + n] = sum;
        }
      void (*fn)(agrl_pool *, float *, const float *, const float *, size_t, size_t, size_t, float) =
          form % 3 == 0 ? agrl_gemm_nt : form % 3 == 1 ? agrl_gemm_nn : agrl_gemm_tn;
      for (size_t i = 0; i < M * N; i++) c[i] = c2[i] = beta != 0.0f ? c0[i] : NAN;  // beta 0 ignores what was there
      fn(NULL, c, a, b, M, N, K, beta);
      fn(two, c2, a, b, M, N, K, beta);
      tc_near("gemm", c, want, M * N, 1e-6 * (1 + sqrt((double)K)));
      tc_same("gemm, 2 threads", c, c2, M * N * 4);
    }
    free(a), free(b), free(c0), free(c), free(c2), free(want);
  }
  agrl_pool_free(two);
}

int main(void) {
  agrl_error err;
  if (agrl_tensor_init(&err) != AGRL_OK) return agrl_rc_exit(err.code);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(linear_reference),
      cmocka_unit_test(linear_batch_invariance),
      cmocka_unit_test(linear_cut_invariance),
      cmocka_unit_test(linear_several_outputs),
      cmocka_unit_test(linear_edges),
      cmocka_unit_test(packing),
      cmocka_unit_test(weight_gradient),
      cmocka_unit_test(gemm_forms),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
