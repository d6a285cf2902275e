// SPDX-License-Identifier: Apache-2.0
// The start-up check of OpenBLAS. This program brings its own cblas_sgemm, which the linker prefers to the library's,
// and makes one chosen product wrong in one element: initialisation must notice in each form, and pass when nothing is
// wrong.
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/tensor/tensor.h"

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };  // CBLAS constants

static int calls, wrong_call, wrong_at;

void cblas_sgemm(int order, int ta, int tb, int M, int N, int K, float alpha, const float *A, int lda, const float *B,
                 int ldb, float beta, float *C, int ldc);
void cblas_sgemm(int order, int ta, int tb, int M, int N, int K, float alpha, const float *A, int lda, const float *B,
                 int ldb, float beta, float *C, int ldc) {
  assert_int_equal(order, ROW_MAJOR);
  for (int m = 0; m < M; m++) {
    for (int n = 0; n < N; n++) {
      float s = 0;
      for (int k = 0; k < K; k++) s += (ta == NO_TRANS ? A[m * lda + k] : A[k * lda + m]) *
          (tb == TRANS ? B[n * ldb + k] : B[k * ldb + n]);
      C[m * ldc + n] = alpha * s + (beta != 0 ? beta * C[m * ldc + n] : 0);
    }
  }
  if (calls++ == wrong_call) C[wrong_at / N % M * ldc + wrong_at % N] += 0.015625f;
}

static void wrong_products_are_refused(void **state) {
  agrl_error err;
  wrong_call = -1;
  assert_int_equal(agrl_tensor_init(&err), AGRL_OK);
  int total = calls;
  assert_true(total >= 3);
  for (wrong_call = 0; wrong_call < total; wrong_call++) {
    for (wrong_at = 0; wrong_at < 9000; wrong_at += 1777) {
      calls = 0;
      memset(&err, 0, sizeof err);
      assert_int_equal(agrl_tensor_init(&err), AGRL_ESELFCHECK);
      assert_int_equal(agrl_rc_exit(err.code), 70);
      assert_non_null(strstr(err.msg, "OPENBLAS_CORETYPE"));
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(wrong_products_are_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
