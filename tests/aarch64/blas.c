// SPDX-License-Identifier: Apache-2.0
// The part of OpenBLAS that common/tensor/gemm.c calls, in plain C, for the tests on a machine whose OpenBLAS is not at hand.
// They hold agrl's kernels to a reference; the f32 products pass through here unchecked for speed.
#include <cblas.h>

void openblas_set_num_threads(int n) {}
char *openblas_get_corename(void) { return (char *)"plain"; }

void cblas_sgemm(const enum CBLAS_ORDER order, const enum CBLAS_TRANSPOSE ta, const enum CBLAS_TRANSPOSE tb, const blasint M, const blasint N,
                 const blasint K, const float alpha, const float *A, const blasint lda, const float *B, const blasint ldb, const float beta,
                 float *C, const blasint ldc) {
  for (blasint m = 0; m < M; m++) {
    for (blasint n = 0; n < N; n++) {
      double s = 0;
      for (blasint k = 0; k < K; k++)
        s += (double)A[ta == CblasNoTrans ? m * lda + k : k * lda + m] * (double)B[tb == CblasNoTrans ? k * ldb + n : n * ldb + k];
      C[m * ldc + n] = alpha * (float)s + (beta != 0 ? beta * C[m * ldc + n] : 0);
    }
  }
}
