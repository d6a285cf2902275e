// SPDX-License-Identifier: Apache-2.0
// Matrix products: the bf16 linear layer of every instruction set against a double loop, its batch invariance and
// independence of threads bit by bit; the three OpenBLAS forms likewise.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/tensor_check.h"

typedef struct layer {
  size_t M, I, O;
  float *x, *bias, *y, *again;
  uint16_t *w;
  double *want;
} layer;

static void layer_init(layer *l, size_t M, size_t I, size_t O) {
  float *wide = tc_floats(O * I, 7, 0.5);
  *l = (layer){M, I, O, tc_floats(M * I, 5, 1.0), tc_floats(O, 6, 1.0), tc_filled(M * O, NAN), tc_filled(M * O, NAN),
               agrl_xcalloc(O * I + 1, 2), agrl_xcalloc(M * O + 1, sizeof(double))};
  agrl_bf16_from_f32(l->w, wide, O * I);
  agrl_f32_from_bf16(wide, l->w, O * I);
  for (size_t m = 0; m < M; m++) {
    for (size_t o = 0; o < O; o++) {
      double s = (double)l->bias[o];
      for (size_t i = 0; i < I; i++) s += (double)l->x[m * I + i] * (double)wide[o * I + i];
      l->want[m * O + o] = s;
    }
  }
  free(wide);
}

static void layer_release(layer *l) {
  free(l->x), free(l->bias), free(l->y), free(l->again), free(l->w), free(l->want);
}

// f32 sums of I products of unit size: the error grows with sqrt(I); 1e-6 * sqrt(I) holds with room.
static void linear_reference(void **state) {
  static const size_t shapes[][3] = {{1, 576, 192}, {2, 64, 48},  {3, 33, 7},   {4, 31, 13},  {5, 1, 1},
                                     {7, 100, 37},
                                     {8, 128, 50},  {9, 17, 5},   {11, 65, 25}, {12, 66, 26}, {13, 1025, 9},
                                         {33, 40, 31},
                                     {64, 96, 101}, {70, 2051, 3}};
  agrl_pool *two = agrl_pool_new(2), *three = agrl_pool_new(3);
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    layer l;
    layer_init(&l, shapes[s][0], shapes[s][1], shapes[s][2]);
    size_t n = l.M * l.O;
    FOR_EACH_CPU(c) {
      agrl_linear_bf16(NULL, l.y, l.x, l.w, l.bias, l.M, l.I, l.O);
      tc_near("linear", l.y, l.want, n, 1e-6 * sqrt((double)l.I));
      agrl_linear_bf16(two, l.again, l.x, l.w, l.bias, l.M, l.I, l.O);
      tc_same("linear, 2 threads", l.y, l.again, n * 4);
      agrl_linear_bf16(three, l.again, l.x, l.w, l.bias, l.M, l.I, l.O);
      tc_same("linear, 3 threads", l.y, l.again, n * 4);
    }
    layer_release(&l);
  }
  agrl_pool_free(two);
  agrl_pool_free(three);
}

static void linear_batch_invariance(void **state) {
  static const size_t shapes[][2] = {{576, 192}, {1536, 67}, {67, 31}};
  agrl_pool *two = agrl_pool_new(2);
  for (size_t s = 0; s < 3; s++) {
    layer l;
    layer_init(&l, 77, shapes[s][0], shapes[s][1]);
    FOR_EACH_CPU(c) {
      agrl_linear_bf16(two, l.y, l.x, l.w, NULL, l.M, l.I, l.O);
      for (size_t M = 1; M <= 40; M++) {  // rows from the middle, in batches of every size
        size_t from = 37 - M % 5;
        agrl_linear_bf16(two, l.again, l.x + from * l.I, l.w, NULL, M, l.I, l.O);
        tc_same("linear, other batch", l.y + from * l.O, l.again, M * l.O * 4);
      }
    }
    layer_release(&l);
  }
  agrl_pool_free(two);
}

static void linear_edges(void **state) {
  float y[6] = {9, 9, 9, 9, 9, 9}, bias[3] = {1, 2, 3}, x[2] = {2, 3};
  uint16_t w[3] = {0x3f80, 0xc000, 0x7f80};  // 1, -2, inf
  FOR_EACH_CPU(c) {
    agrl_linear_bf16(NULL, y, x, w, NULL, 0, 1, 3);  // no rows: nothing written
    assert_true(y[0] == 9);
    agrl_linear_bf16(NULL, y, x, w, bias, 2, 0, 3);  // an empty sum is the bias
    assert_true(y[0] == 1 && y[4] == 2 && y[5] == 3);
    agrl_linear_bf16(NULL, y, x, w, bias, 2, 1, 3);
    assert_true(y[0] == 3 && y[1] == -2 && isinf(y[2]) && y[3] == 4 && y[4] == -4 && isinf(y[5]));
    for (int i = 0; i < 6; i++) y[i] = 9;
  }
}

static void gemm_forms(void **state) {
  static const size_t shapes[][3] = {{1, 1, 1}, {5, 3, 7}, {300, 70, 33}, {64, 530, 45}, {513, 257, 129}, {3, 4, 0}};
  agrl_pool *two = agrl_pool_new(2);
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    size_t M = shapes[s][0], N = shapes[s][1], K = shapes[s][2];
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
      cmocka_unit_test(linear_edges),
      cmocka_unit_test(gemm_forms),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
