// SPDX-License-Identifier: Apache-2.0
// f32 matrix products on OpenBLAS. The output is cut along its longer side into strips whose width depends on the shape
// only, never on the thread count, so results are the same for any pool. OpenBLAS itself runs single-threaded.
#include "common/tensor/gemm.h"

#include <math.h>

#include "common/base/bug.h"
#include "common/tensor/tensor.h"

#include <cblas.h>  // last: it brings <complex.h>, whose macro I would break parameter names

enum { STRIPS_MAX = 16, STRIP_MIN = 128, STRIP_ALIGN = 48 };

typedef struct gemm_job {
  CBLAS_TRANSPOSE ta, tb;
  float *C;
  const float *A, *B;
  size_t M, N, K, strip;
  float beta;
  bool by_rows;
} gemm_job;

static void run_strip(void *arg, size_t index) {
  const gemm_job *j = arg;
  size_t total = j->by_rows ? j->M : j->N, at = index * j->strip, len = total - at < j->strip ? total - at : j->strip;
  size_t lda = j->ta == CblasNoTrans ? j->K : j->M, ldb = j->tb == CblasNoTrans ? j->N : j->K;
  const float *A = j->A, *B = j->B;
  float *C = j->C;
  size_t M = j->M, N = j->N;
  if (j->by_rows) {
    A += j->ta == CblasNoTrans ? at * lda : at;
    C += at * j->N;
    M = len;
  } else {
    B += j->tb == CblasNoTrans ? at : at * ldb;
    C += at;
    N = len;
  }
  cblas_sgemm(CblasRowMajor, j->ta, j->tb, (int)M, (int)N, (int)j->K, 1.0f, A, (int)lda, B, (int)ldb, j->beta, C,
              (int)j->N);
}

static void gemm(agrl_pool *pool, gemm_job *j) {
  if (j->M == 0 || j->N == 0) return;
  AGRL_ASSERT(j->M <= INT32_MAX && j->N <= INT32_MAX && j->K <= INT32_MAX);
  j->by_rows = j->M >= j->N;
  size_t total = j->by_rows ? j->M : j->N, strip = (total + STRIPS_MAX - 1) / STRIPS_MAX;
  if (strip < STRIP_MIN) strip = STRIP_MIN;
  j->strip = (strip + STRIP_ALIGN - 1) / STRIP_ALIGN * STRIP_ALIGN;
  agrl_pool_run(pool, run_strip, j, (total + j->strip - 1) / j->strip);
}

void agrl_gemm_nt(agrl_pool *pool, float *C, const float *A, const float *B, size_t M, size_t N, size_t K, float beta) {
  gemm(pool, &(gemm_job){.ta = CblasNoTrans, .tb = CblasTrans, .C = C, .A = A, .B = B, .M = M, .N = N, .K = K,
                         .beta = beta});
}
void agrl_gemm_nn(agrl_pool *pool, float *C, const float *A, const float *B, size_t M, size_t N, size_t K, float beta) {
  gemm(pool, &(gemm_job){.ta = CblasNoTrans, .tb = CblasNoTrans, .C = C, .A = A, .B = B, .M = M, .N = N, .K = K,
                         .beta = beta});
}
void agrl_gemm_tn(agrl_pool *pool, float *C, const float *A, const float *B, size_t M, size_t N, size_t K, float beta) {
  gemm(pool, &(gemm_job){.ta = CblasTrans, .tb = CblasNoTrans, .C = C, .A = A, .B = B, .M = M, .N = N, .K = K,
                         .beta = beta});
}

// Sizes that reach the main kernel and every edge of the known OpenBLAS tilings (16x4, 8x4, 64x16 ...), and K beyond
// one unrolled turn. Inputs are small integers over 8: every product and sum is exact in f32, so any difference is an
// error.
enum { CHECK_M = 83, CHECK_N = 101, CHECK_K = 71 };

static float check_value(size_t i) { return (float)((int)((i * 2654435761u >> 7) % 17) - 8) / 8.0f; }

static bool check_form(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, const float *A, const float *B, float *C) {
  gemm_job j = {.ta = ta, .tb = tb, .C = C, .A = A, .B = B, .M = CHECK_M, .N = CHECK_N, .K = CHECK_K};
  gemm(NULL, &j);
  for (size_t m = 0; m < CHECK_M; m++) {
    for (size_t n = 0; n < CHECK_N; n++) {
      double s = 0;
      for (size_t k = 0; k < CHECK_K; k++)
        s += (double)A[ta == CblasNoTrans ? m * CHECK_K + k : k * CHECK_M + m] *
             (double)B[tb == CblasNoTrans ? k * CHECK_N + n : n * CHECK_K + k];
      if (!(fabs(s - (double)C[m * CHECK_N + n]) == 0)) return false;
    }
  }
  return true;
}

agrl_rc agrl_gemm_init(agrl_error *err) {
  static float A[CHECK_M * CHECK_K], B[CHECK_K * CHECK_N], C[CHECK_M * CHECK_N];
  openblas_set_num_threads(1);
  for (size_t i = 0; i < sizeof A / sizeof *A; i++) A[i] = check_value(i);
  for (size_t i = 0; i < sizeof B / sizeof *B; i++) B[i] = check_value(i + 977);
  if (check_form(CblasNoTrans, CblasTrans, A, B, C) && check_form(CblasNoTrans, CblasNoTrans, A, B, C) &&
      check_form(CblasTrans, CblasNoTrans, A, B, C))
    return AGRL_OK;
  return agrl_fail(err, AGRL_ESELFCHECK,
                   "OpenBLAS (core %s) multiplies wrongly on this CPU: set OPENBLAS_CORETYPE=Haswell or install a "
                   "newer OpenBLAS",
                   openblas_get_corename());
}
