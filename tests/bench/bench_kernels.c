// SPDX-License-Identifier: Apache-2.0
// Kernel cases: the linear layer, products of a training step and the memory-bound kernels.
#include <string.h>

#include "common/base/mem.h"
#include "common/tensor/tensor.h"
#include "tests/bench/bench_subject.h"

// ---- linear: y(M,N) = x(M,K) w(N,K)^T, w bf16. Weights walk through 256 MiB, as decode finds them: not in L2. ----

static const size_t COLD_BYTES = (size_t)256 << 20;

typedef struct linear_arg {
  agrl_pool *pool;
  float *y;
  const uint16_t *x;
  const uint32_t *weights;
  size_t M, K, N, at;
} linear_arg;

static void linear_once(void *arg) {
  linear_arg *a = arg;
  const size_t words = agrl_packed_words(a->N, a->K);
  if ((a->at + words) * sizeof *a->weights > COLD_BYTES) a->at = 0;
  const agrl_linear_out out = {a->y, a->weights + a->at, NULL, NULL, a->N};
  agrl_linear(a->pool, &out, 1, a->x, a->M, a->K);
  a->at += words;
}

static void linear_shape(bench_env *e, const char *model, const uint32_t *weights, size_t K, size_t N) {
  static const size_t batches[] = {1, 8, 32, 64, 512};
  for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
    size_t M = batches[b];
    float *x = bench_floats(M * K, 2), *y = bench_floats(M * N, 3);
    uint16_t *x16 = agrl_block_alloc(M * K * 2);
    agrl_bf16_rows(NULL, x16, NULL, x, M, K);
    for (int t = 0; t < 2; t++) {
      linear_arg a = {e->pool[t], y, x16, weights, M, K, N, 0};
      double s = bench_time(e, linear_once, &a);
      bench_begin(e, "linear", t);
      agrl_jw_kstr(&e->json, "model", model);
      agrl_jw_ku64(&e->json, "m", M);
      agrl_jw_ku64(&e->json, "k", K);
      agrl_jw_ku64(&e->json, "n", N);
      bench_time_rates(e, t, s, 2.0 * (double)M * (double)K * (double)N, 2.0 * (double)K * (double)N);
      bench_end(e);
    }
    agrl_block_free(x, M * K * 4);
    agrl_block_free(x16, M * K * 2);
    agrl_block_free(y, M * N * 4);
  }
}

void bench_linear(bench_env *e) {
  size_t n = COLD_BYTES / 2;
  float *wide = bench_floats(n / 8, 1);
  uint32_t *weights = agrl_block_alloc(COLD_BYTES);  // any words are packed weights
  if (!weights) return;
  for (size_t i = 0; i < n; i += n / 8) agrl_bf16_from_f32((uint16_t *)(void *)weights + i, wide, n / 8);
  agrl_block_free(wide, n / 8 * 4);
  for (int m = BENCH_SUBJECTS - 1; m >= 0; m--) {
    size_t kn[BENCH_PRODUCTS][2];
    bench_subject_products(m, kn);
    for (int i = 0; i < BENCH_PRODUCTS; i++) linear_shape(e, bench_subject_name(m), weights, kn[i][0], kn[i][1]);
  }
  agrl_block_free(weights, COLD_BYTES);
}

// ---- gemm: the three products of a linear layer in training, T tokens, I inputs, O outputs ----

typedef struct gemm_arg {
  agrl_pool *pool;
  float *c;
  const float *a, *b;
  size_t M, N, K;
  void (*fn)(agrl_pool *, float *, const float *, const float *, size_t, size_t, size_t, float);
} gemm_arg;

static void gemm_once(void *arg) {
  gemm_arg *g = arg;
  g->fn(g->pool, g->c, g->a, g->b, g->M, g->N, g->K, 0.0f);
}

void bench_gemm(bench_env *e) {
  size_t kn[BENCH_SUBJECTS][BENCH_PRODUCTS][2];
  for (int m = 0; m < BENCH_SUBJECTS; m++) bench_subject_products(m, kn[m]);
  for (int i = 0; i < BENCH_SUBJECTS * BENCH_PRODUCTS; i++) {
    const size_t *shape = kn[i / BENCH_PRODUCTS][i % BENCH_PRODUCTS], I = shape[0], O = shape[1], T = O > 8192 ? 512 : 2048;
    float *x = bench_floats(T * I, 1), *w = bench_floats(I * O, 2), *y = bench_floats(T * O, 3);
    gemm_arg args[] = {{NULL, y, x, w, T, O, I, agrl_gemm_nt}, {NULL, x, y, w, T, I, O, agrl_gemm_nn},
                       {NULL, w, y, x, O, I, T, agrl_gemm_tn}};
    const char *names[] = {"forward", "input_gradient", "weight_gradient"};
    for (int form = 0; form < 3; form++) {
      for (int t = 0; t < 2; t++) {
        args[form].pool = e->pool[t];
        double s = bench_time(e, gemm_once, &args[form]);
        bench_begin(e, "gemm", t);
        agrl_jw_kstr(&e->json, "product", names[form]);
        agrl_jw_ku64(&e->json, "tokens", T);
        agrl_jw_ku64(&e->json, "in", I);
        agrl_jw_ku64(&e->json, "out", O);
        bench_time_rates(e, t, s, 2.0 * (double)T * (double)I * (double)O, 0);
        bench_end(e);
        memset(args[form].c, 0, args[form].M * args[form].N * 4);  // keeps chained results from growing
      }
    }
    agrl_block_free(x, T * I * 4);
    agrl_block_free(w, I * O * 4);
    agrl_block_free(y, T * O * 4);
  }
}

// ---- elementwise: 2048 tokens of the 135M shape; AdamW over 32M parameters ----

enum { ROWS = 2048, WIDTH = 1536, HIDDEN = 576, VOCAB = 49152, LOGIT_ROWS = 64, PARAMS = 32 << 20 };

typedef struct elem_arg {
  agrl_pool *pool;
  float *a, *b, *c, *d, *f;
  uint16_t *h;
} elem_arg;

static void norm_once(void *arg) {
  elem_arg *a = arg;
  agrl_rmsnorm(a->pool, a->a, a->d, a->b, a->c, ROWS, HIDDEN, 1e-5f);
}
static void norm_bwd_once(void *arg) {
  elem_arg *a = arg;
  agrl_rmsnorm_bwd(a->pool, a->a, a->f, a->b, a->b, a->c, a->d, ROWS, HIDDEN);
}
static void swiglu_once(void *arg) {
  elem_arg *a = arg;
  agrl_swiglu(a->pool, a->a, a->b, a->c, ROWS, WIDTH);
}
static void lse_once(void *arg) {
  elem_arg *a = arg;
  agrl_logsumexp(a->pool, a->a, a->b, LOGIT_ROWS, VOCAB);
}
static void adamw_once(void *arg) {
  elem_arg *a = arg;
  agrl_adamw w = {1e-4f, 0.9f, 0.95f, 1e-8f, 0.01f, 0.1f, 0.05f, 1.0f};
  agrl_adamw_step(a->pool, a->a, a->b, a->c, a->d, a->h, PARAMS, &w);
}

void bench_elementwise(bench_env *e) {
  elem_arg a = {NULL, bench_floats(PARAMS, 1), bench_floats(PARAMS, 2), bench_floats(PARAMS, 3),
                bench_floats(PARAMS, 4),
                bench_floats(PARAMS, 5), agrl_block_alloc((size_t)PARAMS * 2)};
  for (size_t i = 0; i < PARAMS; i++) a.c[i] = a.c[i] * a.c[i];  // a second moment is not negative
  void (*fns[])(void *) = {norm_once, norm_bwd_once, swiglu_once, lse_once, adamw_once};
  const char *names[] = {"rmsnorm", "rmsnorm_backward", "swiglu", "logsumexp", "adamw"};
  double bytes[] = {(double)ROWS * HIDDEN * 8, (double)ROWS * HIDDEN * 24, (double)ROWS * WIDTH * 12,
                    (double)LOGIT_ROWS * VOCAB * 4,
                    (double)PARAMS * 30};
  for (int k = 0; k < 5; k++) {
    for (int t = 0; t < 2; t++) {
      a.pool = e->pool[t];
      double s = bench_time(e, fns[k], &a);
      bench_begin(e, "elementwise", t);
      agrl_jw_kstr(&e->json, "kernel", names[k]);
      bench_time_rates(e, t, s, 0, bytes[k]);
      bench_end(e);
    }
  }
  agrl_block_free(a.a, (size_t)PARAMS * 4), agrl_block_free(a.b, (size_t)PARAMS * 4),
      agrl_block_free(a.c, (size_t)PARAMS * 4);
  agrl_block_free(a.d, (size_t)PARAMS * 4), agrl_block_free(a.f, (size_t)PARAMS * 4),
      agrl_block_free(a.h, (size_t)PARAMS * 2);
}
